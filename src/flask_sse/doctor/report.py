"""Report of the findings: text for people, JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from .finding import Finding, Severity
from .observations import Observations

_COLOURS: dict[Severity, str] = {"problem": "red", "warning": "yellow", "fine": "green"}
_WIDTH = 100
_INDENT = " " * 10


def as_text(seen: Observations, findings: Sequence[Finding]) -> str:
    """Return the report for people, with colours, which click removes if the output is no terminal."""
    lines = [click.style(seen.url, bold=True), ""]
    for finding in findings:
        lines += _lines(finding)
    lines += ["", _sum(findings)]
    return "\n".join(lines)


def as_json(seen: Observations, findings: Sequence[Finding]) -> str:
    """Return the findings and all observations as a JSON object."""
    report = {
        "url": seen.url,
        **{_plural(severity): _count(findings, severity) for severity in _COLOURS},
        "findings": [asdict(finding) for finding in findings],
        "observations": asdict(seen),
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


def _lines(finding: Finding) -> Iterator[str]:
    label = click.style(f"{finding.severity:<10}", fg=_COLOURS[finding.severity])
    if finding.severity == "fine":
        yield from _wrapped(f"{finding.title}: {finding.seen}", label)
        return
    yield label + click.style(finding.title, bold=True)
    yield from _wrapped(f"Seen: {finding.seen}")
    yield from _wrapped(f"Why: {finding.why}")
    for program, lines in finding.hint.items():
        yield f"{_INDENT}{program}:"
        yield from (f"{_INDENT}    {line}" for line in lines)
    yield ""


def _wrapped(text: str, label: str = _INDENT) -> Iterator[str]:
    first, *rest = textwrap.wrap(text, _WIDTH - len(_INDENT))
    yield label + first
    yield from (_INDENT + line for line in rest)


def _sum(findings: Sequence[Finding]) -> str:
    counts = {severity: _count(findings, severity) for severity in _COLOURS}
    parts = [f"{count} {severity if count == 1 else _plural(severity)}" for severity, count in counts.items()]
    return ", ".join(parts)


def _plural(severity: Severity) -> str:
    return severity if severity == "fine" else f"{severity}s"


def _count(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(finding.severity == severity for finding in findings)
