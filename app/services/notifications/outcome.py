"""Outcome of one try to deliver a notification."""

from __future__ import annotations

from dataclasses import dataclass


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
