"""Hubs that take the place of others: as they do it, and as they fail to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from tests.tools import ROOT

from flask_sse.hub.client import launcher
from flask_sse.hub.client.config import hub_config
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.process.job import Job
from flask_sse.settings import Settings

from .patience import PATIENT_SECONDS
from .processes import wait_until

# Takes over from the hub whose job stands on standard input, and fails at one of its steps: before it
# sends or waits for the packet with a number. Says how many there were, if it got to the end.
FAILING = """
import json, os, signal, sys
from pathlib import Path
from flask_sse.hub.handover.handover_connection import HandoverConnection
from flask_sse.hub.handover.receiver import Receiver

number, way = int(sys.argv[1]), sys.argv[2]
steps = 0

def failing(method):
    def step(connection, *arguments):
        global steps
        steps += not (method.__name__ == "receive" and connection._packets)
        if steps == number != 0:
            os.kill(os.getpid(), signal.SIGKILL if way == "killed" else signal.SIGSTOP)
        return method(connection, *arguments)
    return step

HandoverConnection.send = failing(HandoverConnection.send)
HandoverConnection.receive = failing(HandoverConnection.receive)
receiver = Receiver(Path(json.loads(sys.stdin.readline())["path"]), only_if_older=False)
if number == 0:
    steps += 3  # prepared, commit, committed
    print(steps, flush=True)
    sys.exit()
receiver.commit()
"""


def successor_job(settings: Settings) -> Job:
    """Return what a hub is told that takes over from the automatic one of an application."""
    return Job(str(hub_path(settings)), hub_config(settings), replaces=True)


def succeed(settings: Settings) -> None:
    """Let a new process take over from the automatic hub of an application."""
    log = hub_path(settings).with_suffix(".log")
    before = log.read_text().count("handover received")
    launcher.start(successor_job(settings))
    wait_until(lambda: log.read_text().count("handover received") > before, what="the successor in charge")


def fail_to_succeed(settings: Settings, step: int, way: str = "killed") -> subprocess.Popen[str]:
    """Start a process that begins to take over and fails at a step: ``killed`` or ``stopped``."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING, str(step), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    process.stdin.write(successor_job(settings).line())
    process.stdin.flush()
    return process


def steps_to_succeed(settings: Settings) -> int:
    """Return how many steps a takeover has now; nothing is taken over."""
    out, _ = fail_to_succeed(settings, 0).communicate(timeout=PATIENT_SECONDS)
    return int(out)


@contextlib.contextmanager
def started_by(code: str, settings: Settings) -> Iterator[None]:
    """Let a program of our own be the automatic hub of an application."""
    path = hub_path(settings)
    lock = launcher.take_lock(path.with_suffix(".lock"))
    assert lock is not None
    job = Job(str(path), hub_config(settings), lock=lock)
    log = path.with_suffix(".log")
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stderr=stderr,
            text=True,
            pass_fds=[lock],
            cwd=ROOT,
        )
    os.close(lock)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(job.line())
    assert process.wait(PATIENT_SECONDS) == 0
    wait_until(path.is_socket, what="a hub")
    yield
