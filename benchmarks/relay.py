"""What does relay cost against takeover?"""

from __future__ import annotations

from . import systems
from .fanout import EVENTS, PER_SECOND, Starter, costs
from .harness import ROUNDS, Report, use_client_core

CLIENTS = 500
GEVENT = ("-k", "gevent", "--worker-connections", "4000")
# A relayed stream holds its thread; a few more for streams that come and go.
GTHREAD = ("-k", "gthread", "--threads", str(CLIENTS + 10))
TAKEOVER_OFF = {"SSE_TAKEOVER": "off"}


def ours(name: str, worker: tuple[str, ...], env: dict[str, str] | None = None) -> Starter:
    """Return what starts ours with a kind of worker."""
    return lambda: systems.flask_sse_2(env=env, worker=worker, name=name)


def main() -> None:
    """Measure the ways to serve beside sse-starlette, whose streams stay in the web server, too."""
    use_client_core()
    report = Report(
        f"Relay and takeover with {CLIENTS} clients",
        f"{EVENTS} events of 100 bytes, {PER_SECOND:g} a second, {ROUNDS} rounds; CPU of web server and hub",
    )
    starters = [
        ours("takeover, gevent", GEVENT),
        ours("relay, gevent", GEVENT, TAKEOVER_OFF),
        ours("relay, gthread", GTHREAD, TAKEOVER_OFF),
        systems.sse_starlette,
    ]
    results = costs([(start, CLIENTS) for start in starters])
    takeover, gevent, gthread, starlette = results.values()
    report.table(
        ["system", "CPU µs per delivered event", "x takeover"],
        [(name, values, values.over(takeover)) for (name, _), values in results.items()],
    )
    report.at_most("relay (gevent) of sse-starlette", gevent.over(starlette), 1.0, " x")
    report.at_most("relay (gthread) of sse-starlette", gthread.over(starlette), 1.0, " x")


if __name__ == "__main__":
    main()
