"""A real PostgreSQL server, for tests alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from .processes import Process, free_port
from .tools import missing, require

READY = "database system is ready to accept connections"
# What initdb makes, and whom clients name.
USER = "tester"
# Debian's package makes it; PostgreSQL does not run as root.
SYSTEM_USER = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_prepared_transactions": "20",  # 0 by default, which is no two-phase commit
    "fsync": "off",
    "lock_timeout": "5s",  # a test that waits for a transaction which nobody ends fails
}


class Postgres:
    """A running server; leaving the ``with`` block ends it.

    Attributes:
        url: Of its first database, for SQLAlchemy with psycopg.
        process: The process that serves it.
    """

    def __init__(self) -> None:
        postgres = require("postgres")
        # Beside the program itself, which what is on the PATH may only point to.
        initdb = postgres.resolve().with_name("initdb")
        port = free_port()
        self._server = f"postgresql+psycopg://{USER}@127.0.0.1:{port}"
        self.url = self.url_of("postgres")
        self._folder = tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp")
        try:
            data = f"{self._folder.name}/data"
            as_user = _as_system_user(Path(self._folder.name))
            make = [*as_user, str(initdb), "--no-sync", "--auth=trust", f"--username={USER}", "-D", data]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL, timeout=60)
            settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(port)}).items()]
            self.process = Process([*as_user, str(postgres), "-D", data, *settings], ready=READY)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A fast shutdown: SIGTERM waits for the clients.
        if self.process.alive:
            os.kill(self.process.pid, signal.SIGINT)
            self.process.wait()
        self.process.close()
        self._folder.cleanup()

    def url_of(self, database: str) -> str:
        """Return the URL of another one of its databases."""
        return f"{self._server}/{database}"


def _as_system_user(folder: Path) -> list[str]:
    """Return what begins the command lines, and let the server write to its folder."""
    if os.geteuid():
        return []
    setpriv = shutil.which("setpriv") or missing("PostgreSQL does not run as root, and there is no setpriv")
    shutil.chown(folder, SYSTEM_USER, SYSTEM_USER)
    return [setpriv, f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups"]
