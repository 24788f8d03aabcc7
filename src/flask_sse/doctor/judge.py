"""Judge: what was seen becomes findings. It reads no clock and asks nobody."""

from __future__ import annotations

from .door_findings import door_findings
from .fact_findings import fact_findings
from .finding import Finding
from .observations import Observations
from .stream_findings import stream_findings

_ORDER = {"problem": 0, "warning": 1, "fine": 2}


def judge(seen: Observations) -> list[Finding]:
    """Return all findings, the worst first."""
    findings = [*door_findings(seen), *stream_findings(seen), *fact_findings(seen)]
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
