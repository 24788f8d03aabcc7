"""Run every benchmark and draw the plot, or run those that are named: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import importlib
import sys
import time

from .harness import Report

NAMES = [
    "fanout",
    "burst",
    "channels",
    "memory",
    "opening",
    "publishing",
    "latency",
    "replay",
    "relay",
    "interop",
    "growth",
    "handover",
    "hostile",
    "plot",
]


def main(names: list[str]) -> None:
    """Measure, and print what was to be reached and what was."""
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"no benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    began = time.monotonic()
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()
    report = Report("What was to be reached", f"{(time.monotonic() - began) / 60:.0f} minutes in all")
    report.table(
        ["question", "target", "median (spread)", "reached"],
        [
            (target.question, target.text, target.reached, "yes" if target.holds else "NO")
            for target in Report.targets
        ],
    )


main(sys.argv[1:] or NAMES)
