"""Every command of the page on web servers starts that server, and its stream leaves as the page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stories.docs.snippets import SNIPPETS, at_port, lay, post, read, shell
from tests.support.client import StreamClient, get
from tests.support.processes import Process, free_port

TAKEOVER = [
    "servers/cheroot.sh",
    "servers/flask-run.sh",
    "servers/gevent-pywsgi.sh",
    "servers/gunicorn-asgi.sh",
    "servers/gunicorn-gevent.sh",
    "servers/gunicorn-gevent_pywsgi.sh",
    "servers/gunicorn-gthread.sh",
    "servers/gunicorn-sync.sh",
    "servers/uvicorn.sh",
    "servers/uwsgi-http-socket.sh",
    "servers/uwsgi-http.sh",
    "servers/waitress.sh",
]
RELAY = ["servers/granian.sh", "servers/hypercorn.sh"]
REFUSED = "servers/gunicorn-tornado.sh"
GEVENT_SERVER = "servers/gevent_server.py"

Servers = dict[str, tuple[int, Process]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All of them, started at the same time because each takes a while."""
    running: Servers = {}
    try:
        for name in [*TAKEOVER, *RELAY, REFUSED]:
            folder = tmp_path_factory.mktemp(Path(name).stem)
            lay(folder, {"app.py": "channels/app.py", "asgi.py": "servers/asgi.py"})
            port = free_port()
            (folder / Path(GEVENT_SERVER).name).write_text(at_port(read(GEVENT_SERVER), port))
            running[name] = (port, shell(at_port(read(name), port), folder))
        yield running
    finally:
        for _, process in running.values():
            process.kill_tree()
            process.close()


def test_every_command_is_here() -> None:
    shown = {f"servers/{path.name}" for path in SNIPPETS.glob("servers/*.sh")}
    assert shown == {*TAKEOVER, *RELAY, REFUSED}


@pytest.mark.parametrize("name", [*TAKEOVER, *RELAY])
def test_a_goal_reaches_a_page_that_asked_for_its_game(name: str, servers: Servers) -> None:
    port, process = servers[name]
    process.wait_for_port(port)
    game = Path(name).stem
    with StreamClient(port, f"/stream?channel=game-0&channel=game-{game}") as stream:
        stream.wait_for_bytes(b"retry:")
        is_takeover = stream.reading.head.endswith(b"\r\nConnection: close\r\n\r\n")
        assert is_takeover == (name in TAKEOVER)
        assert post(f"http://127.0.0.1:{port}/goal/{game}") == 204, process.output()
        assert stream.next_event().type == "stream-open"
        event = stream.next_event()
        assert (event.type, event.data) == ("goal", f'{{"game": "{game}"}}')


def test_tornado_is_refused_with_a_text_that_says_why(servers: Servers) -> None:
    port, process = servers[REFUSED]
    process.wait_for_port(port)
    answer = get(port, "/stream?channel=game-1")
    assert answer.status == 500
    assert b"Tornado's WSGI container cannot serve event streams" in answer.body
