"""Click errors: an error of Flask-SSE becomes one line in the terminal, and exit code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def as_click_error(*kinds: type[Exception]) -> Iterator[None]:
    """Raise these errors as a ``ClickException``, which click prints without a traceback."""
    try:
        yield
    except kinds as error:
        # str() of a KeyError is the repr of its text.
        raise click.ClickException(str(error.args[0] if isinstance(error, KeyError) else error)) from error
