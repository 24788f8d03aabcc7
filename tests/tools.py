"""Install what the tests need and pip does not bring; only what is missing.

Run by ``make test``. On a laptop a tool that cannot be had costs one line here and a few skipped tests;
where the environment variable ``CI`` is set it is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "tests" / "clients"
FLASK_SSE_1 = ROOT / "build" / "flask-sse-1.0"

# Program -> the Debian package that brings it.
DEBIAN_PACKAGES = {
    "caddy": "caddy",
    "chromium": "chromium",
    "curl": "curl",
    "faketime": "faketime",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "postgres": "postgresql",
    "redis-server": "redis-server",
}
# Servers live in directories that are not on the PATH of every user, PostgreSQL in one for each version.
SERVER_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
POSTGRESQL = Path("/usr/lib/postgresql")
TIMEOUT_SECONDS = 900
# As apt-get, npm and pip begin the line that matters among the others.
ERROR_LINE = re.compile(r"^E: |Error: |^ERROR: ")

# What no program of its own stands for -> a file that is there once it is installed.
FILES = {
    "eventsource": CLIENTS / "node_modules" / "eventsource" / "package.json",
    "flask-sse-1.0": FLASK_SSE_1 / "flask_sse.py",
}


def in_ci() -> bool:
    """Tell whether a missing tool is an error."""
    return bool(os.environ.get("CI"))


def find(name: str) -> Path | None:
    """Return the program ``name``, or the directory of what :data:`FILES` knows; ``None`` if missing."""
    if name in FILES:
        return FILES[name].parent if FILES[name].is_file() else None
    program = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *server_folders()]))
    return Path(program) if program else None


def server_folders() -> list[str]:
    """Return where servers may be, asked each time: the installation of one may make its folder."""
    return [*SERVER_FOLDERS, *map(str, POSTGRESQL.glob("*/bin"))]


def main() -> int:
    """Install all that is missing and return the exit status."""
    steps = (debian_packages, eventsource, flask_sse_1)
    failures = [failure for step in steps if (failure := step())]
    for failure in failures:
        say(failure)
    return 1 if failures and in_ci() else 0


def debian_packages() -> str | None:
    """Install the missing programs; return why that failed, else ``None``."""
    missing = [name for name in DEBIAN_PACKAGES if find(name) is None]
    failure = apt_get_install([DEBIAN_PACKAGES[name] for name in missing]) if missing else None
    return f"tests that need {', '.join(missing)} cannot run: {failure}" if failure else None


def apt_get_install(packages: list[str]) -> str | None:
    """Install packages of Debian; return why that failed, else ``None``."""
    if shutil.which("apt-get") is None:
        return "not installed, and there is no apt-get to do it"
    if os.geteuid() and run("sudo", "-n", "true") is not None:
        return "not installed, and neither root nor password-less sudo to do it"
    # RUNLEVEL=1 keeps Debian from starting the services that it installs.
    settings = ("env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
    apt_get = (*(("sudo", "-n") if os.geteuid() else ()), *settings, "apt-get", "-qq")
    failure = run(*apt_get, "update") or run(
        *apt_get, "install", "--yes", "--no-install-recommends", *packages
    )
    if not failure:
        say(f"installed with apt-get: {', '.join(packages)}")
    return failure


def eventsource() -> str | None:
    """Install the packages of tests/clients; return why that failed, else ``None``."""
    failure = node_packages(CLIENTS, "eventsource")
    return f"tests with the npm package eventsource cannot run: {failure}" if failure else None


def node_packages(folder: Path, what: str) -> str | None:
    """Install the packages of a folder with a package-lock.json; return why that failed, else ``None``."""
    wanted = folder / "package-lock.json"
    installed = folder / "node_modules" / ".package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return None
    npm = find("npm")
    if npm is None:
        return "no npm"
    failure = run(str(npm), "ci", "--no-audit", "--no-fund", "--fetch-retries=1", cwd=folder)
    if not failure:
        installed.touch()
        say(f"installed with npm: {what}")
    return failure


def flask_sse_1() -> str | None:
    """Install Flask-SSE 1.0.0 beside us; return why that failed, else ``None``."""
    if find("flask-sse-1.0"):
        return None
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade")
    failure = run(*pip, "--target", str(FLASK_SSE_1), "six", "Flask-SSE==1.0.0")
    if failure:
        return f"tests of a rolling upgrade cannot run: {failure}"
    say("installed with pip: Flask-SSE 1.0.0, for tests of a rolling upgrade")
    return None


def run(*argv: str, cwd: Path = ROOT) -> str | None:
    """Run a command; return the line that says why it failed, ``None`` if it did not."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if not done.returncode:
        return None
    lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
    return next(filter(ERROR_LINE.search, lines), lines[-1])


def say(line: str) -> None:
    """Print one line, named after this program."""
    print(f"tests/tools.py: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
