"""Install what the comparison needs and pip does not bring; only what is missing. Run by ``make bench``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import tools

NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
BETTER_SSE = Path(__file__).parent / "servers" / "better-sse"


def main() -> int:
    """Install all that is missing and return the exit status."""
    missing = []
    if not NCHAN.exists():
        missing.append("libnginx-mod-nchan")
    if tools.find("cc") is None:
        missing += ["gcc", "libc6-dev"]
    failures = [
        tools.apt_get_install(missing) if missing else None,
        tools.node_packages(BETTER_SSE, "better-sse"),
    ]
    for failure in filter(None, failures):
        tools.say(f"benchmarks cannot run: {failure}")
    return 1 if any(failures) else 0


if __name__ == "__main__":
    sys.exit(main())
