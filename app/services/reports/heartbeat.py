"""Heartbeat of a report writer: a thread that records progress and detects when the writer must stop.

The thread has its own connection, because the writer's connection is busy returning rows. When the writer must stop,
the thread also interrupts the writer's statement, because a database may sort for minutes before it returns a row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from app.exceptions import StoreUnavailable
from app.store.database import database, drop_connection, release

SECONDS = 0.5

log = structlog.get_logger(__name__)


class TimedOut(Exception):
    """The report exceeded its time limit."""


class LeaseLost(Exception):
    """Another attempt holds the report, or the report has ended."""


class ShutdownRequested(Exception):
    """The worker must shut down."""


def never() -> bool:
    """Return False, for workers that never receive a shutdown request."""
    return False


class Heartbeat:
    """Context manager that sends heartbeats while it is open.

    Args:
        note: records a heartbeat and progress, and returns False if the lease is lost.
        seconds: the time limit.
        is_stopping: returns whether the worker is shutting down.
    """

    def __init__(self, note: Callable[[], bool], seconds: float, is_stopping: Callable[[], bool] = never) -> None:
        self._note = note
        self._is_stopping = is_stopping
        self._deadline = time.monotonic() + seconds
        self._found: type[Exception] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._interrupt = database.interrupter()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        if self._found:
            drop_connection()  # the server may act late, and would then interrupt the next statement
        if error and self._found and not isinstance(error, self._found):
            raise self._found from error  # an interrupted statement raises the driver's error

    def check(self) -> None:
        """Raise TimedOut, ShutdownRequested or LeaseLost if the writer must stop."""
        if self._found:
            raise self._found

    def wait(self, seconds: float) -> None:
        """Sleep, then raise like `check`."""
        time.sleep(seconds)
        self.check()

    def _run(self) -> None:
        while not self._done.wait(min(SECONDS, max(0.01, self._deadline - time.monotonic()))):
            self._found = self._look()
            if self._found:
                self._stop_the_statement()
                return

    def _look(self) -> type[Exception] | None:
        if time.monotonic() >= self._deadline:
            return TimedOut
        if self._is_stopping():
            return ShutdownRequested
        try:
            return None if self._note() else LeaseLost
        except StoreUnavailable as error:  # a later heartbeat may succeed; otherwise the cleanup releases the attempt
            log.warning("progress not noted", reason=str(error))
            return None
        finally:
            release()

    def _stop_the_statement(self) -> None:
        """Interrupt the writer's statement repeatedly, because an interrupt between two statements has no effect."""
        while True:
            try:
                self._interrupt()
            except Exception as error:  # noqa: BLE001 - any driver's error; the writer detects the stop later by itself
                log.warning("a statement could not be ended", reason=str(error))
            if self._done.wait(SECONDS):
                return
