"""Modules without a test file of their own: names each, and fails.

A module ``src/flask_sse/a/b.py`` has its tests in ``tests/a/test_b.py``, or in several files whose names
begin so, such as ``test_b_limits.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What has no test in the process itself, and why. A folder stands for all in it that has no test file.
EXCEPTIONS: dict[str, str] = {}


def modules(root: Path) -> Iterator[Path]:
    """Yield the modules of the package, but for those that only gather others."""
    source = root / "src" / "flask_sse"
    for file in sorted(source.rglob("*.py")):
        if not file.name.startswith("__"):
            yield file.relative_to(source)


def has_tests(root: Path, module: Path) -> bool:
    """Tell whether a module has a test file at its place."""
    folder = root / "tests" / module.parent
    names = (f"test_{module.stem}.py", f"test_{module.stem}_*.py")
    return any(any(folder.glob(name)) for name in names)


def complaints(root: Path, exceptions: dict[str, str]) -> Iterator[str]:
    """Yield a line for each module without a test file, and for each exception that is none."""
    needed = set()
    for module in modules(root):
        if not has_tests(root, module):
            names = {str(module), *map(str, module.parents)} & exceptions.keys()
            needed |= names
            if not names:
                yield f"src/flask_sse/{module}: no tests/{module.parent / f'test_{module.name}'}"
    for name in sorted(exceptions.keys() - needed):
        yield f"{name}: no exception is needed"


def main() -> int:
    """Print what is found; return the exit code."""
    lines = [*complaints(ROOT, EXCEPTIONS)]
    print("\n".join(lines))
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main())
