"""The page on logs names every logger, level and count that the code has, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from tests.stories.docs.snippets import DOCS
from tests.support.local import local_app
from tests.tools import ROOT

from flask_sse import sse
from flask_sse.metrics import HubCollector

SOURCE = ROOT / "src"
HUB = "flask_sse.hub.server.hub_log"
PAGE = (DOCS / "reference" / "logs.rst").read_text()
LEVELS = {f"logger.{level}": level for level in ("debug", "info", "warning", "error")}


def calls(module: Path) -> Iterator[tuple[str, str]]:
    """Yield the logger and the level of each call that logs."""
    parts = module.relative_to(SOURCE).with_suffix("").parts
    own = ".".join(parts).removesuffix(".__init__")
    for node in ast.walk(ast.parse(module.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in LEVELS and own != HUB:
            yield own, LEVELS[name]
        elif name in {"logger.exception", "log_crash"}:
            yield own, "error"
        elif match := re.fullmatch(
            r"self\.(?:_log|_hub\.log|log)\.(?:throttled_)?(warning|info|crash)", name
        ):
            yield HUB, match[1].replace("crash", "error")


def test_every_logger_and_level_is_documented_and_no_other() -> None:
    # 14.44. A crash report is written with the logger of the hub.
    written = {call for module in SOURCE.rglob("*.py") for call in calls(module)}
    rows = re.findall(r"^    \* - (``flask_sse\..+)\n      - (\w+)$", PAGE, re.MULTILINE)
    documented = {(name, level) for names, level in rows for name in re.findall(r"``([\w.]+)``", names)}
    assert documented == written


def test_every_count_and_metric_is_documented_and_no_other() -> None:
    rows = re.findall(r"^    \* - ``(\w+)``\n      -(?: ``(flask_sse_\w+)``)?\n", PAGE, re.MULTILINE)
    named = set(re.findall(r"``(flask_sse_\w+)``", PAGE.partition(".. _counts:")[2]))
    registry = CollectorRegistry()
    with local_app(SSE_BROKER_URL="memory://counts", SSE_HUB="thread") as app:
        registry.register(HubCollector(app))
        metrics = {sample.name for family in registry.collect() for sample in family.samples}
        with app.app_context():
            assert [key for key, _ in rows] == list(sse.status())
    assert named == metrics


def test_lines_that_are_shown_in_full_are_those_of_the_code() -> None:
    trees = [ast.parse(module.read_text()) for module in SOURCE.rglob("*.py")]
    constants = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    written = "\n".join(text for text in constants if isinstance(text, str))
    shown = PAGE[PAGE.index("Some lines in full:") : PAGE.index("Crash reports\n")]
    lines = re.findall(r"``(.+?)``", "".join(re.findall(r"^``.+``$", shown, re.MULTILINE)))
    # What differs from line to line is left out: numbers, names and what "..." stands for.
    parts = [part for line in lines for part in re.split(r"\.\.\.|\d+ ?\w*|'.*?'|SIG\w+|: |; ", line)]
    constant = [part.strip(" .,:;") for part in parts]
    assert len(lines) > 10
    assert [part for part in constant if part not in written] == []
