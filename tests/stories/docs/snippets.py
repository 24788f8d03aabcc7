"""What tests of the documentation share: where its snippets are, and how they are put to work."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, free_port
from tests.support.tools import require
from tests.support.webservers import SCRIPTS
from tests.tools import ROOT

DOCS = ROOT / "docs"
SNIPPETS = DOCS / "snippets"
# The port that snippets name, and what `flask run` takes if nobody names one.
PORTS_SHOWN = ("8000", "5000")
NGINX = """
daemon off;
{user}
pid nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {site}
}}
"""


def read(name: str) -> str:
    """Return the text of a snippet."""
    return (SNIPPETS / name).read_text()


def run(name: str) -> dict[str, Any]:
    """Run a Python snippet in this process and return its names."""
    return runpy.run_path(str(SNIPPETS / name), run_name="snippet")


def lay(folder: Path, files: Mapping[str, str]) -> None:
    """Copy snippets into ``folder``: target -> snippet."""
    for target, name in files.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SNIPPETS / name, folder / target)


def at_port(text: str, port: int) -> str:
    """Return a snippet with another port than it shows."""
    for shown in PORTS_SHOWN:
        text = text.replace(shown, str(port))
    return text


def shell(
    command: str, folder: Path, env: Mapping[str, str] | None = None, ready: int | str | None = None
) -> Process:
    """Start a command line in ``folder``, with the programs of this Python first."""
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", "")])
    # Home is the folder, so that nothing of the user is read or written.
    variables = {"PATH": path, "HOME": str(folder), "CURL_HOME": str(folder), **(env or {})}
    return Process(["bash", "-ec", command], variables, folder, ready)


class FlaskRun:
    """``flask run`` in a folder, as the README and the tutorial say.

    Attributes:
        port: Its port of 127.0.0.1.
        url: Its address, without a slash at the end.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        variables = {"FLASK_RUN_PORT": str(self.port), **(env or {})}
        self._process = shell(read("tutorial/run.sh"), folder, variables, self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.close()

    def output(self) -> str:
        """Return all that it has written so far."""
        return self._process.output()


def post(url: str, data: bytes = b"") -> int:
    """Send a POST request and return the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=PATIENT_SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def serving(site: str, folder: Path) -> Iterator[int]:
    """Run nginx with the ``server`` of a snippet; yields the port that stands for its port 80."""
    nginx, port = require("nginx"), free_port()
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
    user = "" if os.geteuid() else "user root root;"
    (folder / "nginx.conf").write_text(NGINX.format(user=user, site=site))
    command = [str(nginx), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    subprocess.run([*command, "-t", "-q"], check=True)
    with Process(command, ready=port):
        yield port
