"""The first packet of an application on a control connection, and the versions of the protocol. No I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...errors import ProtocolError
from ...ranges import COUNT, SECONDS
from .packet import Packet

# What this release speaks; the highest that both ends speak counts.
PROTOCOLS = (6,)


@dataclass(frozen=True, slots=True)
class Hello:
    """An application introduces itself.

    Attributes:
        pid: Its process.
        linger_seconds: How long an automatic hub must outlive its last application.
    """

    pid: int
    linger_seconds: float

    def packet(self) -> Packet:
        """Return the packet that says this."""
        return Packet("hello", {"protocols": PROTOCOLS, **asdict(self)})

    @classmethod
    def read(cls, packet: Packet) -> Hello:
        """Check a packet and return what it says.

        Raises:
            ProtocolError: If it is not a valid hello, or of another version of the protocol.
        """
        fields = packet.fields
        if packet.op != "hello" or common_protocol(fields.get("protocols")) is None:
            raise ProtocolError(f"this hub speaks protocol {PROTOCOLS[-1]}, not {ascii(fields)[:100]}")
        pid, linger = fields.get("pid"), fields.get("linger_seconds")
        if not isinstance(pid, int) or pid not in COUNT or linger is None or linger not in SECONDS:
            raise ProtocolError("a hello without pid and linger_seconds")
        return cls(pid, float(linger))


def common_protocol(protocols: object) -> int | None:
    """Return the highest version that is spoken here, too; ``None`` if there is none."""
    known = [each for each in protocols if each in PROTOCOLS] if isinstance(protocols, list) else []
    return max(known, default=None)
