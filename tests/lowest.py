"""The lowest versions of the packages that Flask-SSE needs, as constraints for pip.

``make test-lowest`` runs it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w-]+)>=(?P<version>[\d.]+)")


def lowest(dependencies: Iterable[str]) -> list[str]:
    """Return a constraint for each dependency.

    Raises:
        ValueError: If one is more than a name and its lowest version.
    """
    constraints = []
    for dependency in dependencies:
        found = REQUIREMENT.fullmatch(dependency)
        if found is None:
            raise ValueError(f"{dependency!r} is not of the form NAME>=VERSION")
        constraints.append(f"{found['name']}=={found['version']}")
    return constraints


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(PROJECT.read_text())["project"]["dependencies"])))
