"""Print events as sseclient-py reads them; the command line and the output are those of listen.mjs."""

from __future__ import annotations

import json
import sys

import httpx
import sseclient


def main(url: str, event_type: str, count: str) -> None:
    """Print ``open``, then one JSON line for each event of the type, until there are ``count``."""
    left = int(count)
    with httpx.stream("GET", url, trust_env=False, timeout=None) as response:
        response.raise_for_status()
        print("open", flush=True)
        for event in sseclient.SSEClient(response.iter_bytes()).events():
            if event.event != event_type:
                continue
            shown = {"type": event.event, "data": event.data, "lastEventId": event.id or ""}
            print(json.dumps(shown), flush=True)
            left -= 1
            if left == 0:
                return
    sys.exit("the stream ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
