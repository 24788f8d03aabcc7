"""What the checker says of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

IDS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """What must not happen.

    Attributes:
        client: Its name.
        channel: Which one; empty if that cannot be told.
        ids: What it is about.
        text: What happened, in one line.
    """

    client: str
    channel: str
    ids: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        ids = ", ".join([*self.ids[:IDS_SHOWN], *["..."] * (len(self.ids) > IDS_SHOWN)])
        return f"{type(self).__name__}: {self.client}, channel {self.channel!r}: {self.text}: {ids}"


class Loss(Violation):
    """Publications were left out, and no reset said so."""


class Duplicate(Violation):
    """A publication came twice, or would after the next connection."""


class Disorder(Violation):
    """A publication came behind a later one."""


class Behind(Violation):
    """A connected client was not brought to the end of a channel."""


class Unknown(Violation):
    """Something came that nobody published in this form."""


@dataclass
class Report:
    """What the checker found.

    Attributes:
        violations: All of them.
        events: How many events of applications the clients saw.
        resets: How many resets they were told of.
        reconnects: How many connections they opened after their first.
    """

    violations: list[Violation] = field(default_factory=list)
    events: int = 0
    resets: int = 0
    reconnects: int = 0

    def __str__(self) -> str:
        counts = f"{self.events} events, {self.resets} resets, {self.reconnects} reconnects"
        return "\n".join([f"{len(self.violations)} violations, {counts}", *map(str, self.violations)])
