"""The same application, whose threads can all be kept busy."""

from __future__ import annotations

import threading

from quickstart import app

THREADS = 4
calm = threading.Event()


def burn() -> None:
    while not calm.is_set():
        sum(range(1000))


@app.get("/busy")
def busy() -> str:
    calm.clear()
    for _ in range(THREADS):
        threading.Thread(target=burn, daemon=True).start()
    return "busy"


@app.get("/quiet")
def quiet() -> str:
    calm.set()
    return "quiet"
