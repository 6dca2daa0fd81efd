"""The sign of life of whoever writes a report: a thread beside it that notes progress, and finds out when to stop.

It has a connection of its own, as the writer's is busy giving rows. Where the writer must stop it ends its statement,
too: a database may sort for minutes before the first row comes.
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
    """The report runs longer than it may."""


class LeaseLost(Exception):
    """The report is another attempt's now, or was ended."""


class ShutdownRequested(Exception):
    """The worker is to end."""


def never() -> bool:
    """Whether a worker is to end that nobody can tell so."""
    return False


class Heartbeat:
    """Beats while it is open as a context.

    Args:
        note: writes a sign of life and progress; False where there is nothing to go on with.
        seconds: how long all may take.
        is_stopping: whether the worker is to end.
    """

    def __init__(self, note: Callable[[], bool], seconds: float, is_stopping: Callable[[], bool] = never) -> None:
        self._note = note
        self._is_stopping = is_stopping
        self._deadline = time.monotonic() + seconds
        self._found: type[Exception] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._interrupt = database.interrupter()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        if self._found:
            drop_connection()  # the server may end a statement a moment late: by then another one
        if error and self._found and not isinstance(error, self._found):
            raise self._found from error  # a statement that was ended here raises the driver's error

    def check(self) -> None:
        """Raise TimedOut, Stopping or Lost where it is time to stop."""
        if self._found:
            raise self._found

    def wait(self, seconds: float) -> None:
        """Sleep, unless it is time to stop."""
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
        except StoreUnavailable as error:  # the next beat may reach it; if none does, the sweeper gives us up
            log.warning("progress not noted", reason=str(error))
            return None
        finally:
            release()

    def _stop_the_statement(self) -> None:
        """Again and again: between two statements there is nothing to end."""
        while True:
            try:
                self._interrupt()
            except Exception as error:  # noqa: BLE001 - any driver's; the writer finds out by itself, only later
                log.warning("a statement could not be ended", reason=str(error))
            if self._done.wait(SECONDS):
                return
