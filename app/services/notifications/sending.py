"""What the queue of notifications knows of each kind, and the outcome of a try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.store.models import Delivery
from app.support.clock import SKEW_MS

PAUSES_SECONDS = (30, 120, 600, 1_800, 7_200, 21_600, 54_000, 72_000, 86_400)  # ten tries within three days
JITTER = 0.1  # up to a tenth more than a pause, so that many do not return at the same moment


@dataclass(frozen=True)
class Outcome:
    """What a server responded.

    Attributes:
        code: the status, or None if there was no response.
        said: beginning of the response, or the reason for having none.
        is_good: whether the notification is delivered.
        is_final: whether another try would not help.
        wait_ms: the time that the server asks to wait before the next try.
    """

    code: int | None
    said: str
    is_good: bool = False
    is_final: bool = False
    wait_ms: int = 0


@dataclass(frozen=True)
class Kind:
    """Kind of notification, and when it is tried.

    Attributes:
        receiver: the column of a delivery that names the receiver.
        name: in the log.
        pauses_seconds: from each try to the next.
        max_tries: the most tries at a time in a process.
        in_order: whether a receiver has one try at a time, of its oldest notification.
    """

    receiver: str
    name: str
    pauses_seconds: Sequence[int]
    max_tries: int
    in_order: bool = False

    @property
    def longest_ms(self) -> int:
        """Return how far ahead a retry is scheduled at most."""
        return round(max(self.pauses_seconds) * 1000 * (1 + JITTER)) + SKEW_MS


class Sender(Protocol):
    """Maker of the notifications of one kind."""

    @property
    def kind(self) -> Kind:
        """Return the kind of notification."""

    def announce(self, since: int) -> None:
        """Create the deliveries of what has happened since a time."""

    def attempt(self, delivery: Delivery, moment: int) -> Outcome:
        """Send a delivery, and return how its receiver responded."""
