"""A handler for `logging` that records log records as events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tally_client.encode import MAX_TEXT, Item

if TYPE_CHECKING:
    from tally_client.client import Tally

OWN = "tally_client"


class TallyHandler(logging.Handler):
    """Records each log record as an event; by default its context is level, logger and formatted message.

    It never raises: what cannot be recorded is passed to `logging.Handler.handleError`. It ignores the client's own
    log records, so that no failure to send causes an event.

    Args:
        context: returns the context for a log record. Texts are shortened to what an event may hold.
    """

    def __init__(
        self,
        tally: Tally,
        customer: str,
        product: str,
        type: str = "LOG",
        *,
        context: Callable[[logging.LogRecord], Sequence[Item]] | None = None,
        level: int = logging.NOTSET,
    ) -> None:
        super().__init__(level)
        self._tally = tally
        self._codes = (customer, product, type)
        self._context = context
        self._busy = threading.local()  # while this thread handles a record, so that `context` may log

    def emit(self, record: logging.LogRecord) -> None:
        """Record a log record."""
        if record.name == OWN or getattr(self._busy, "is_set", False):
            return
        self._busy.is_set = True
        try:
            if self._context is not None:
                items = list(self._context(record))
            else:
                items = [record.levelname, record.name, self.format(record)]
            milliseconds = int(record.created * 1000)
            self._tally.record(*self._codes, *map(_fit, items), timestamp=milliseconds)
        except Exception:  # noqa: BLE001 - a handler must not raise; `handleError` reports it
            self.handleError(record)
        finally:
            self._busy.is_set = False


def _fit(item: Item) -> Item:
    """Return an item as an event may hold it."""
    if not isinstance(item, str):
        return item
    return item[:MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
