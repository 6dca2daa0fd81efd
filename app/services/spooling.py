"""The spool beside the way in (SPOOL=on): events that the database cannot take now wait on this machine's disk."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from app.exceptions import StoreUnavailable
from app.storage.spool import Spool
from app.store import aside
from app.store.writer import Entry

log = structlog.get_logger(__name__)


class Spooling:
    """Takes events aside, and brings them home.

    Args:
        spool: of this machine.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def take(self, group: Sequence[Entry], ticket: object) -> None:
        """Keep entries until the database is back; see `app.store.writer.Aside`.

        Raises:
            StoreUnavailable: the spool's disk is full, too.
        """
        try:
            self._spool.append([aside.encode(entry, ticket) for entry in group])
        except OSError as error:
            raise StoreUnavailable(
                f"The database is away, and the spool cannot be written: {error.strerror}."
            ) from error

    def rest(self) -> None:
        """Let the spool's file go, so that it can be delivered."""
        self._spool.close()

    def waiting(self) -> int:
        """How many events wait for the database."""
        return self._spool.waiting()

    def deliver(self) -> None:
        """Bring home what waits.

        Raises:
            StoreUnavailable: the database is still away.
        """
        before = self.waiting()
        for path in self._spool.drain(aside.deliver):
            log.error("a file of the spool is damaged; the rest of it is kept, for a person to look at", file=str(path))
        delivered = before - self.waiting()
        if delivered > 0:
            log.info("spooled events delivered", events=delivered)
