"""What a process and a Redis server hold, so that a test can tell what grew and did not shrink again."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import redis

MAX_KEYS = 100_000
FOREVER = -1  # as Redis says of a key without an end

Snapshot = Mapping[str, int]


def of_process(pid: int) -> Snapshot:
    """Return the numbers of ``threads`` and ``descriptors`` of a process, and its ``rss_bytes``."""
    process = psutil.Process(pid)
    with process.oneshot():
        return {
            "threads": process.num_threads(),
            "descriptors": process.num_fds(),
            "rss_bytes": process.memory_info().rss,
        }


def of_broker(client: redis.Redis) -> Snapshot:
    """Return the numbers of ``keys`` of a server's database and of those without an end, ``keys_forever``.

    Raises:
        ValueError: If there are more keys than a test can have made on purpose.
    """
    keys: set[bytes] = set()
    for key in client.scan_iter(count=1000):
        keys.add(key)
        if len(keys) > MAX_KEYS:
            raise ValueError(f"more than {MAX_KEYS} keys")
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.ttl(key)
        ends = pipeline.execute()
    return {"keys": len(keys), "keys_forever": ends.count(FOREVER)}


def grown(before: Snapshot, after: Snapshot, **allowed: int) -> list[str]:
    """Return a line for each number that grew by more than is allowed; nothing may grow by default.

    Args:
        before: The first snapshot.
        after: The second one, of the same.
        allowed: By how much a number may grow, under its name in the snapshots.

    Example:
        >>> grown({"threads": 3, "descriptors": 20}, {"threads": 5, "descriptors": 21}, descriptors=2)
        ['threads grew from 3 to 5, and 0 more were allowed']
    """
    if unknown := allowed.keys() - before.keys():
        raise ValueError(f"no such numbers: {sorted(unknown)}")
    return [
        f"{name} grew from {number} to {after[name]}, and {allowed.get(name, 0)} more were allowed"
        for name, number in before.items()
        if after[name] - number > allowed.get(name, 0)
    ]
