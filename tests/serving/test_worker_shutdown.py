"""The shutdown of a worker, where there is no worker; web servers have stories of their own."""

from __future__ import annotations

import io

from flask_sse.serving.worker_shutdown import find_shutdown


def test_no_worker_is_found_where_there_is_none() -> None:
    assert find_shutdown({"wsgi.input": io.BytesIO()}) is None
