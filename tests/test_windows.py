"""What Windows lacks is needed neither by the hub in a thread nor by the relay."""

from __future__ import annotations

import sys

from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process
from tests.tools import ROOT

# Not Windows: Python on Linux, without the modules and functions that Windows does not have.
STORY = """
import sys
import asyncio, socket
import flask, redis.asyncio, werkzeug.serving
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in ("CMSG_SPACE", "CMSG_LEN", "send_fds", "recv_fds", "SO_PEERCRED", "TCP_USER_TIMEOUT"):
    delattr(socket, name)
sys.platform = "win32"

from flask_sse import sse

app = flask.Flask("app")
sse.authorize(lambda channel: True)
app.config["SSE_BROKER_URL"] = "memory://windows"
app.register_blueprint(sse, url_prefix="/stream")
with app.app_context():
    stream = app.test_client().get("/stream", buffered=False)
    pieces = stream.iter_encoded()
    assert next(pieces).startswith(b"retry:")
    published = sse.publish("hello")
    assert published == 1
    assert next(pieces) == b"data:hello\\nid:%s\\n\\n" % published.id.encode()
    print(sse.status()["streams"])
    stream.close()
"""


def test_a_stream_by_the_hub_in_a_thread_and_the_relay() -> None:
    with Process([sys.executable, "-c", STORY], cwd=ROOT) as script:
        assert script.wait(PATIENT_SECONDS) == 0, script.output()
        assert script.output().splitlines() == ["1"]
