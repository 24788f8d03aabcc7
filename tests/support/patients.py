"""What tests of the doctor share: a stream is examined, and its findings are looked up by their titles."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from flask import Flask

from flask_sse.doctor import stream_findings
from flask_sse.doctor.address import Address
from flask_sse.doctor.application import Application
from flask_sse.doctor.finding import Finding
from flask_sse.doctor.judge import judge
from flask_sse.doctor.observations import Observations
from flask_sse.doctor.probe import Patience, examine

from .patience import patient

# What is well is not waited for, so there is time enough on a busy machine.
CALM = Patience()
# For what never comes.
HURRY = Patience(connect=2, head=0.5, body=0.5, arrival=0.5, flush=2)


@dataclass(frozen=True)
class Diagnosis:
    """What was seen and found."""

    seen: Observations
    findings: list[Finding]

    def __getitem__(self, title: str) -> Finding:
        found = [finding for finding in self.findings if finding.title == title]
        assert found, f"no {title!r} in {self.titles('problem', 'warning', 'fine')}"
        return found[0]

    def titles(self, *severities: str) -> list[str]:
        """Return the titles of all findings that are so severe."""
        return [finding.title for finding in self.findings if finding.severity in severities]

    @property
    def problems(self) -> list[str]:
        """The titles of what is wrong."""
        return self.titles("problem")


def diagnose(
    app: Flask, url: str, patience: Patience = CALM, *, channel: str | None = None, cookie: str = ""
) -> Diagnosis:
    """Examine the stream at ``url`` with the application that serves it."""
    with app.app_context(), pytest.MonkeyPatch.context() as patch:
        # What a busy machine adds is no fault of what stands in front of the application.
        patch.setattr(stream_findings, "_LATE_SECONDS", patient(1.0))
        seen = examine(Address.read(url), Application(), patience, channel, cookie)
        return Diagnosis(seen, judge(seen))
