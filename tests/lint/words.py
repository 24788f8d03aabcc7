"""Words that the project does not write: lists each place where one occurs, and fails.

The left column holds what has one meaning only, so that no sentence needs it; the right one says what is
written instead. The files are those that users and contributors read: the package, the documentation, the
examples and the pages at the root.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    "src",
    "docs",
    "examples",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
)
SUFFIXES = {".py", ".rst", ".md", ".html", ".js", ".css", ""}
NOT_OURS = {"_build", "__pycache__", "node_modules"}

# A letter or digit beside it makes it part of another word; an underscore does not, for identifiers count.
WORDS = {
    r"mend(s|ed|ing)?": "fix, fixed; hint for how to fix it",
    r"(sent|turned) away|refused politely": "rejected, with what status and retry delay",
    r"(go|goes|went|going) on": "continue, resume",
    r"(come|comes|came|coming) back": "reconnect, return",
    r"(is|are|was|were|be) told": "receives, is notified",
    r"(let|lets|letting) go": "release",
    r"anew": "again",
    r"whoever|(some|no|every)body": "the client, the process, the application, all subscribers",
    r"slip of the pen": "typo",
    r"a word about": "a notice, a notification",
    r"out of office": "demoted",
    r"dice": "jitter",
    r"signs? of life": "health probe",
    r"worth nothing|worthless": "revoked",
    r"shall": "should, must, is to",
    r"if you do not say|when nobody says": "by default",
    r"dismiss(al|als|ed)?": "revocation, revoke",
    r"agenda|census|estate|heirs?|lookout": "timer wheel, statistics, snapshot, successor, shutdown watcher",
    r"(one|a) (hub|process|stream|connection|thread|key|line)"
    r" a (machine|second|stream|client|page|channel)": "per",
}
_FORBIDDEN = re.compile("|".join(rf"(?<![^\W_])(?:{word})(?![^\W_])" for word in WORDS), re.IGNORECASE)


def files(root: Path) -> Iterator[Path]:
    """Yield the files that are checked."""
    for place in PLACES:
        top = root / place
        for file in [top] if top.is_file() else sorted(top.rglob("*")):
            if file.is_file() and file.suffix in SUFFIXES and not NOT_OURS & set(file.parts):
                yield file


def found_in(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that have such a word, and the word."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        for match in _FORBIDDEN.finditer(line):
            yield number, match[0]


def instead_of(word: str) -> str:
    """Return what is written in place of a word."""
    return next(better for each, better in WORDS.items() if re.fullmatch(each, word, re.IGNORECASE))


def main(root: Path = ROOT) -> int:
    """Print what is found; return the exit code."""
    count = 0
    for file in files(root):
        for number, word in found_in(file):
            count += 1
            print(f"{file.relative_to(root)}:{number}: {word!r}; write: {instead_of(word)}")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main())
