"""How errors are told in a terminal: one line, and exit code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors into a line for whoever typed the command."""
    try:
        yield
    except kinds as error:
        raise click.ClickException(str(error.args[0] if isinstance(error, KeyError) else error)) from error
