"""A real nginx in front of a web server, with its default buffering."""

from __future__ import annotations

import grp
import os
import pwd
import tempfile
from pathlib import Path
from typing import Literal, Self

from .client import Address
from .processes import Process, free_port
from .tools import require

# What an upstream that is kept alive needs besides; nginx asks with 1.0 and closes by default.
KEEP_ALIVE = 'proxy_http_version 1.1; proxy_set_header Connection "";'

CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream application {{ server {upstream}; {pool} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://application; {protocol} {location} }}
    }}
}}
"""


class Nginx:
    """A running nginx; leaving the ``with`` block ends it.

    Args:
        upstream: The port of 127.0.0.1 or the Unix socket that it asks.
        http_version: Of its requests: ``1.0`` closes after each, ``1.1`` keeps connections.
        location: More settings of what it passes on.

    Attributes:
        port: Its port of 127.0.0.1.
        process: Its process.
        url: Its address, without a slash at the end.
    """

    def __init__(
        self, upstream: Address, http_version: Literal["1.0", "1.1"] = "1.0", location: str = ""
    ) -> None:
        program = require("nginx")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="nginx-")
        folder = Path(self._folder.name)
        keep = http_version == "1.1"
        configuration = CONFIGURATION.format(
            user=nginx_user(),
            upstream=f"127.0.0.1:{upstream}" if isinstance(upstream, int) else f"unix:{upstream}",
            pool="keepalive 8;" if keep else "",
            port=self.port,
            location=location,
            protocol=KEEP_ALIVE if keep else "",
        )
        (folder / "nginx.conf").write_text(configuration)
        try:
            self.process = Process(
                [program, "-p", folder, "-c", "nginx.conf", "-e", "stderr"], ready=self.port
            )
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.close()
        self._folder.cleanup()


def nginx_user() -> str:
    """Return the line that lets root's workers stay root; others' workers are theirs anyway."""
    if os.geteuid():
        return ""
    user = pwd.getpwuid(0)
    return f"user {user.pw_name} {grp.getgrgid(user.pw_gid).gr_name};"
