"""Rules: turn observations into findings. They read no clock and do no I/O."""

from __future__ import annotations

from .connection_rules import connection_findings
from .finding import Finding
from .observations import Observations
from .response_rules import response_findings
from .stream_rules import stream_findings

_ORDER = {"problem": 0, "warning": 1, "fine": 2}


def apply_rules(seen: Observations) -> list[Finding]:
    """Return all findings, problems first."""
    findings = [*response_findings(seen), *stream_findings(seen), *connection_findings(seen)]
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
