"""Failures of the database, as its writers see them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from app.exceptions import StoreUnavailable
from app.store.database import database
from tests.support.running import wait_until


def away(*args: object, **kwargs: object) -> None:
    raise StoreUnavailable("It is away.")


def break_connection() -> None:
    """Cut the calling thread's connection, which does not notice."""
    wire = socket.socket(fileno=os.dup(database.connection().fileno()))
    wire.shutdown(socket.SHUT_RDWR)
    wire.close()


def before(monkeypatch, step: str, act: Callable[[], object]) -> None:
    """Call `act` before a step of the database backend, each time."""
    take = getattr(database.obj, step)

    def acted(*args: object, **kwargs: object) -> object:
        act()
        return take(*args, **kwargs)

    monkeypatch.setattr(database.obj, step, acted)


def once(act: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls `act` only the first time."""
    first = iter([True])
    return lambda: next(first, False) and act()


class StepBlocker:
    """Holds the writer in one step of its work, and counts how often it arrives there."""

    def __init__(self, monkeypatch, step: str) -> None:
        self.count = 0
        self._open = threading.Event()
        self.open, self.close = self._open.set, self._open.clear
        before(monkeypatch, step, self._wait)

    def __enter__(self) -> StepBlocker:
        return self

    def __exit__(self, *error: object) -> None:
        self.open()

    def _wait(self) -> None:
        self.count += 1
        assert self._open.wait(30)

    def until_reached(self, times: int = 1) -> None:
        wait_until(lambda: self.count >= times, 10)
