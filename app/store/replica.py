"""Read replica: a streaming standby that answers reads in place of the primary once it has everything they must see.

The primary names the end of its write-ahead log, and the standby must have replayed the log up to there. So a read
sees everything that was committed before it began, as it would on the primary: a report misses no event of its
snapshot, and a page shows what the same user has just changed. A standby that is unreachable, too far behind, promoted,
or of another server is not used: the primary answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TypeVar

import structlog

from app.exceptions import StoreUnavailable
from app.store.backends.availability import ERRORS
from app.store.backends.postgres import PostgresBackend

T = TypeVar("T")

PAGE_SECONDS = 0.2  # how long a page waits for the standby
LOOK_SECONDS = 0.02
UNUSED_SECONDS = 10.0  # during which a standby that failed is not tried again, so that not every page waits for it

log = structlog.get_logger(__name__)


class Reader(threading.local):
    """The standby from which the calling thread reads at the moment, and what cancels its statement."""

    backend: PostgresBackend | None = None

    def __init__(self) -> None:
        self.interrupt: list[Callable[[], None]] = []  # empty, or one; another thread may hold the list


reader = Reader()


class Replica:
    """Standby of a primary."""

    def __init__(self, primary: PostgresBackend, standby: PostgresBackend) -> None:
        self.standby = standby
        self._primary = primary
        self._unused_until = 0.0

    @contextmanager
    def reading(self, seconds: float, check: Callable[[], None]) -> Iterator[None]:
        """Let the calling thread read from the standby if it catches up within a time, otherwise from the primary.

        Nothing may be written inside. If the standby fails inside, the error is raised.

        Args:
            check: raises if the thread must stop waiting for the standby.
        """
        with self._using() if self._has_caught_up(seconds, check) else nullcontext():
            yield

    def read(self, call: Callable[[], T], seconds: float) -> T:
        """Return the result of a call that reads from the standby, or from the primary if the standby fails."""
        if self._has_caught_up(seconds):
            with suppress(StoreUnavailable), self._using():
                return call()
        return call()

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            reader.interrupt.append(self.standby.interrupter())
            reader.backend = self.standby
            yield
        except BaseException as error:
            self._drop_connection()  # an interrupt that arrives late would end the next statement
            if isinstance(error, StoreUnavailable):
                self._give_up(str(error))
            raise
        finally:
            reader.backend = None
            reader.interrupt.clear()
            self._release()

    def _has_caught_up(self, seconds: float, check: Callable[[], None] = lambda: None) -> bool:
        if time.monotonic() < self._unused_until:
            return False
        deadline = time.monotonic() + seconds
        try:
            position = self._primary.log_position()
            while not self.standby.has_replayed(position):
                if time.monotonic() > deadline:
                    raise StoreUnavailable("It does not follow the primary, or is too far behind.")
                time.sleep(LOOK_SECONDS)
                check()
        except (StoreUnavailable, *ERRORS) as error:
            self._drop_connection()
            self._give_up(str(error))
            return False
        except BaseException:
            self._release()
            raise
        return True

    def _release(self) -> None:
        if not self.standby.is_closed():
            self.standby.close()

    def _drop_connection(self) -> None:
        if not self.standby.is_closed():
            self.standby.drop_connection()

    def _give_up(self, reason: str) -> None:
        self._unused_until = time.monotonic() + UNUSED_SECONDS
        self.standby.close_idle()  # the other connections may be broken, too
        log.warning("replica not used, the primary is read", reason=reason)
