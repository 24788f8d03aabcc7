"""Runtime directory: the private directory of a user's hubs, and the path of each hub's socket in it.

It holds three files per hub: socket, lock and log.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from ...errors import HubStartError, HubUnavailableError
from ...settings import Settings
from ...urls import MEMORY_SCHEME, memory_name
from .config import HUB_SETTINGS

# A Unix socket's path has at most 103 bytes on macOS, of which the name of ours takes 22.
_MAX_DIRECTORY_BYTES = 80
# Errors for which no hub process can be started on this machine, whenever it is tried. All other errors may
# pass: ENOSPC, EDQUOT, EINTR, ETIMEDOUT, ESTALE, EMFILE, ENOMEM and those that are not known here.
_IMPOSSIBLE = {
    errno.EACCES,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOEXEC,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.ENOTDIR,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EROFS,
}


def hub_path(settings: Settings, *, make: bool = True) -> Path:
    """Return where the hub of this user and configuration listens.

    ``memory://`` lives in its hub, so there the name alone decides, or the application where the URL has no
    name: processes with other settings still meet. Otherwise the broker's URL counts, and those settings that
    a hub reads when it starts, for one hub has one value of each. All others take effect in the hub that
    runs, and a deploy that changes them ends no stream.

    Args:
        settings: Of an application.
        make: Whether to make the directory if it is not there.

    Raises:
        HubStartError: If there is no directory that is safe to use.
    """
    digest = hashlib.sha256(json.dumps(_identity(settings), sort_keys=True).encode()).hexdigest()[:16]
    return private_directory(make=make) / f"{digest}.sock"


def _identity(settings: Settings) -> object:
    """Return what makes one hub another than all others of this user."""
    name = memory_name(settings.broker_url)
    if name:
        return f"{MEMORY_SCHEME}://{name}"
    if name is not None:
        # Apart from all names, so that no name is another application's.
        return [f"{MEMORY_SCHEME}://", {"application": settings.application}]
    # Only what is set, so that a release with one more setting finds the hub of the release before it.
    defaults = Settings(settings.broker_url)
    own = {
        name: getattr(settings, name)
        for name in HUB_SETTINGS.values()
        if getattr(settings, name) != getattr(defaults, name)
    }
    return [settings.broker_url, own]


def private_directory(*, make: bool = True) -> Path:
    """Return this user's own directory for hubs.

    Raises:
        HubStartError: If it belongs to another user or others can look into it, or if it does not exist and
            cannot or must not be made.
        HubUnavailableError: If it cannot be made now.
    """
    uid = os.geteuid()
    path = _directory(uid)
    try:
        if make:
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
        status = path.lstat()
    except OSError as error:
        raise start_error(path, error, error) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        hint = "change its owner and mode, or set XDG_RUNTIME_DIR to a directory of this user"
        raise HubStartError(str(path), f"not a directory of user {uid} alone (mode 0700); {hint}")
    return path


def _directory(uid: int) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(runtime) / "flask-sse"
    if runtime and Path(runtime).is_dir() and len(os.fsencode(path)) <= _MAX_DIRECTORY_BYTES:
        return path
    path = _temporary_directory() / f"flask-sse-{uid}"
    if len(os.fsencode(path)) > _MAX_DIRECTORY_BYTES:
        raise HubStartError(str(path), "path too long for a socket")
    return path


def _temporary_directory() -> Path:
    """Return the system's directory for temporary files.

    Not ``tempfile.gettempdir()``: it writes a file, and where the disk is full at that moment it settles on
    another directory for the life of the process, in which no other process looks for the hub.

    Raises:
        HubStartError: If there is none that can be written to.
    """
    named = filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP")))
    for path in map(Path, (*named, "/tmp", "/var/tmp", "/usr/tmp")):  # noqa: S108 - what we make in it is checked
        if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
            return path.absolute()
    raise HubStartError("the temporary directory", "there is none that can be written to; set TMPDIR")


def start_error(path: Path, reason: object, error: OSError) -> HubUnavailableError:
    """Return the error of a hub that cannot be started: never on this machine, or not now."""
    kind = HubStartError if error.errno in _IMPOSSIBLE else HubUnavailableError
    return kind(str(path), reason)
