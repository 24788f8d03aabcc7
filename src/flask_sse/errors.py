"""Exceptions of the package, by cause and by what to do about it.

SSEError
├── UsageError (also a ValueError)     the calling code is wrong; trying again changes nothing
│   ├── InvalidMessageError            a field that an event stream cannot carry
│   ├── MessageTooLargeError           the encoded event is over SSE_MAX_EVENT_BYTES
│   ├── InvalidChannelError            a channel name that is empty, too long or has control characters
│   └── InvalidSettingError            a value of a setting that cannot be used
├── TooManyRunsError                   this process has as many runs as SSE_MAX_RUNS allows
├── RunInProgressError                 another producer works on this run
├── BrokerError                        outside this process; may pass by itself
│   └── BrokerUnavailableError         the broker did not answer in time (also a ConnectionError)
└── HubError                           between this process and the hub; may pass by itself
    ├── HubUnavailableError            no hub answered
    │   └── HubStartError              and none could be started here
    └── ProtocolError                  the other end of a control connection broke the rules
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SHOWN = 80


class SSEError(Exception):
    """Base of every error that this package raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error cross to another process, as task queues need it."""
        return _restore, (type(self), self.args, self.__dict__)


class UsageError(SSEError, ValueError):
    """The calling code is wrong; the text says how to fix it."""


class InvalidMessageError(UsageError):
    """A message has a field that an event stream cannot carry; nothing was published."""

    def __init__(self, field: str, value: object, hint: str) -> None:
        self.field = field
        self.value = value
        super().__init__(f"{field} {shown(value)} cannot be sent: {hint}")


class MessageTooLargeError(UsageError):
    """The encoded event is larger than the limit; nothing was published."""

    def __init__(self, size_bytes: int, max_event_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.max_event_bytes = max_event_bytes
        super().__init__(
            f"the event is {size_bytes} bytes on the wire, the limit is {max_event_bytes}: "
            "send a reference instead of the content, or raise SSE_MAX_EVENT_BYTES"
        )


class InvalidChannelError(UsageError):
    """A channel name that cannot be used."""

    def __init__(self, channel: object, hint: str) -> None:
        self.channel = channel
        super().__init__(f"channel {shown(channel)} cannot be used: {hint}")


class InvalidSettingError(UsageError):
    """A setting has a value that cannot be used."""

    def __init__(self, key: str, value: object, hint: str) -> None:
        self.key = key
        self.value = value
        super().__init__(f"{key} = {shown(value)} cannot be used: {hint}")


class TooManyRunsError(SSEError):
    """This process cannot start a further run; nothing was published. It may pass by itself."""

    def __init__(self, runs: int, reason: str) -> None:
        self.runs = runs
        super().__init__(
            f"no further run can be started in this process, which has {runs}: {reason}; "
            "try later, or let a job queue run it (Publisher.produce)"
        )


class RunInProgressError(SSEError):
    """A producer works on this run; nothing was published. It may pass by itself.

    Attributes:
        channel: The run's.
    """

    def __init__(self, channel: str) -> None:
        self.channel = channel
        super().__init__(
            f"another producer works on {channel!r}: wait for its end, cancel it, or give each run a name of "
            "its own (new_run(prefix=...)); one that was killed is noticed after 10 seconds"
        )


class BrokerError(SSEError):
    """Something outside this process failed; it may pass by itself."""


class BrokerUnavailableError(BrokerError, ConnectionError):
    """The broker did not answer in time, or refused; the event may not have been published.

    Where redis-py is the broker's client, it is a ``redis.exceptions.ConnectionError``, too.

    Attributes:
        broker: Where it is.
        published: What became of those events of ``publish_many`` that are known to be published.
    """

    def __init__(self, broker: str, reason: object, published: Sequence[Any] = ()) -> None:
        self.broker = broker
        self.published = list(published)
        super().__init__(f"{broker} did not take the event: {reason}")


class HubError(SSEError):
    """Something between this process and the hub failed; it may pass by itself."""


class HubUnavailableError(HubError):
    """No hub answered."""

    def __init__(self, where: str, reason: object) -> None:
        self.where = where
        super().__init__(f"no hub at {where}: {reason}")


class HubStartError(HubUnavailableError):
    """No hub answered and this machine does not let one be started."""


class ProtocolError(HubError):
    """The other end of a control connection sent what no peer of ours sends."""


def _restore(kind: type[SSEError], args: tuple[Any, ...], attributes: dict[str, Any]) -> SSEError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


def shown(value: object) -> str:
    """Show a foreign value in a text: printable, one line, bounded, and never an error of its own."""
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001 - too deep, too long, or an object whose repr fails
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
