"""Diagnosis of a stream in tests of the doctor: its findings are looked up by their titles."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from flask import Flask

from flask_sse.doctor import stream_rules
from flask_sse.doctor.application import Application
from flask_sse.doctor.finding import Finding
from flask_sse.doctor.observations import Observations
from flask_sse.doctor.probe import Timeouts, probe_stream
from flask_sse.doctor.rules import apply_rules
from flask_sse.doctor.stream_url import StreamURL

from .patience import patient

# Steps that succeed do not wait, so these bounds are generous on a busy machine.
CALM = Timeouts()
# For steps that time out.
HURRY = Timeouts(connect=2, head=0.5, body=0.5, arrival=0.5, flush=2)


@dataclass(frozen=True)
class Diagnosis:
    """Observations and findings."""

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
        """The titles of all problems."""
        return self.titles("problem")


def diagnose(
    app: Flask, url: str, timeouts: Timeouts = CALM, *, channel: str | None = None, cookie: str = ""
) -> Diagnosis:
    """Probe the stream at ``url`` with the application that serves it."""
    with app.app_context(), pytest.MonkeyPatch.context() as patch:
        # The delay of a busy machine is not a fault of the proxy.
        patch.setattr(stream_rules, "_LATE_SECONDS", patient(1.0))
        seen = probe_stream(StreamURL.parse(url), Application(), timeouts, channel, cookie)
        return Diagnosis(seen, apply_rules(seen))
