"""The commands ``flask sse ...``: publish to the streams of an application, listen to them, check them."""

from __future__ import annotations

from flask.cli import AppGroup

from ..doctor.command import doctor
from .listen import listen
from .publish import publish
from .status import status

sse_group = AppGroup("sse", help="Publish, listen to and check live events.")
for command in (publish, listen, status):
    sse_group.add_command(command)
sse_group.command("doctor")(doctor)
