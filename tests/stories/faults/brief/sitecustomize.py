"""Flask-SSE forgets in seconds what it forgets in minutes, in each Python that finds this on its path.

So a test can wait until what a client has left behind is over, and see that nothing is left of it.
"""

from __future__ import annotations

from flask_sse.brokers import base, keyed_receipts, memory, memory_history
from flask_sse.brokers.redis import history as redis_history
from flask_sse.brokers.redis import reader
from flask_sse.hub.core import channel_registry
from flask_sse.producing import attempt

UNUSED_SECONDS = 1.5

vars(base).update(UNUSED_SECONDS=UNUSED_SECONDS)
vars(memory_history).update(UNUSED_SECONDS=UNUSED_SECONDS, SLOT_SECONDS=0.2)
vars(keyed_receipts).update(KEY_SECONDS=3)
vars(memory).update(SLOT_SECONDS=0.2)
vars(redis_history).update(_UNUSED_MS=int(UNUSED_SECONDS * 1000), KEY_SECONDS=3)
vars(reader).update(CHECK_SECONDS=0.3)
vars(channel_registry).update(CHANNEL_LINGER_SECONDS=1.0)
vars(attempt).update(_STATE_SECONDS=2.0)
