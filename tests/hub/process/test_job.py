"""A job reaches the hub process as it was written, in one line, and no log shows the URL in it."""

from __future__ import annotations

import json

from flask_sse.hub.process.job import Job


def test_a_job_is_read_as_it_was_written() -> None:
    job = Job(
        "/run/h\xfcb.sock", {"broker_url": "redis://:secret\n@host"}, processes=3, listener=5, replaces=True
    )
    assert job.line().endswith("\n")
    assert job.line().count("\n") == 1
    assert Job(**json.loads(job.line())) == job


def test_the_url_of_the_broker_is_not_shown() -> None:
    assert "secret" not in repr(Job("/run/hub.sock", {"broker_url": "redis://:secret@host"}))
