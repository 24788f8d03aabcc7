"""What a client gets in place of a stream that cannot be opened now: status 200, a comment and a retry delay.

Any other status would end a browser's ``EventSource`` for good, and a relay in place of a takeover would hold
a worker for the life of the page, for a cause that has passed a second later.
"""

from __future__ import annotations

import logging

from ..errors import HubError
from ..hub.protocol.hub_events import UNREACHED_RETRY_MS, rejection
from ..jitter import draw_ms
from .client_socket import OwedBytesError

logger = logging.getLogger(__name__)


def rejected(mode: str, error: Exception) -> bytes:
    """Return the whole body, and log why.

    Args:
        mode: Of the stream, as ``StreamRequest`` has it.
        error: What failed.
    """
    if isinstance(error, OwedBytesError):
        # Any client can bring this about.
        logger.debug("rejected a stream: %s", error)
    else:
        logger.error("rejected a stream: %s", str(error) or repr(error))
    reason = "the hub cannot be reached" if isinstance(error, HubError) else "no stream can be opened now"
    return rejection(mode, reason, draw_ms(UNREACHED_RETRY_MS))
