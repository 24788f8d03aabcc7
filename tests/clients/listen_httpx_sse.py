"""Print events as httpx-sse reads them; the command line and the output are those of listen.mjs."""

from __future__ import annotations

import json
import sys

import httpx
from httpx_sse import connect_sse


def main(url: str, event_type: str, count: str) -> None:
    """Print ``open``, then one JSON line for each event of the type, until there are ``count``."""
    left = int(count)
    client = httpx.Client(trust_env=False, timeout=None)
    with client, connect_sse(client, "GET", url) as source:
        source.response.raise_for_status()
        print("open", flush=True)
        for event in source.iter_sse():
            if event.event != event_type:
                continue
            shown = {"type": event.event, "data": event.data, "lastEventId": event.id}
            print(json.dumps(shown), flush=True)
            left -= 1
            if left == 0:
                return
    sys.exit("the stream ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
