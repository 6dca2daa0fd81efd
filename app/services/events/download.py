"""The events that a filter shows, as CSV that spreadsheets open, at once and without a report.

The positions of the events are read first, so that the name of the file can say that it was cut. Then the events are
read a few at a time, while the client receives those before them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from app.event_columns import COLUMNS as EVENT_COLUMNS
from app.exceptions import RateLimited
from app.exports import csv
from app.exports.layout import COLUMNS, POSITIONAL, Cell, Cells, Layout, cells, items
from app.services.catalog.lookup import Catalog
from app.services.events.listing import Listing
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.database import read, release
from app.store.events import pages, search
from app.store.events.filters import EventFilter

MAX_ROWS = 100_000
MAX_SEARCHED = 1_000_000  # events in which a text is searched
INDEX_ROUNDS = 5  # of at most two seconds, if an index finds the events
ROWS_AT_ONCE = 1_000
MAX_AT_ONCE = 4  # in a process; each occupies a thread, a connection and about 15 MB
RETRY_SECONDS = 5
MARK = b"\xef\xbb\xbf"  # without it, Excel reads UTF-8 as the local character set
TIME = "time (UTC)"
BEFORE = ("customer", "product", "type", "version")
AFTER = ("timestamp", "received", "sequence", "batch")

_slots = threading.BoundedSemaphore(MAX_AT_ONCE)


@dataclass(frozen=True)
class DownloadRows:
    """Events to download."""

    keys: list[int]  # their ids, latest event first
    is_cut: bool  # whether there may be more than these


class EventFile:
    """Lines of a file in blocks. It holds a slot until it is closed or garbage-collected."""

    def __init__(self, who: Principal, find: Callable[[], DownloadRows], layout: Layout) -> None:
        if not _slots.acquire(blocking=False):
            message = f"{MAX_AT_ONCE} lists of events are being downloaded at this moment. Try again."
            raise RateLimited(message, RETRY_SECONDS)
        self._has_slot = True
        found = find()
        self._blocks = _blocks(who, found.keys, layout)
        self.rows = len(found.keys)
        self.is_cut = found.is_cut

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    @property
    def name(self) -> str:
        """Return the name of the file, which says whether it was cut."""
        return f"events_latest-{self.rows}.csv" if self.is_cut else "events.csv"

    def close(self) -> None:
        """Release the slot."""
        if getattr(self, "_has_slot", False):
            self._has_slot = False
            _slots.release()

    __del__ = close


class EventDownloads:
    """Downloads of the events that the caller may see."""

    def __init__(self, catalog: Catalog, listing: Listing) -> None:
        self._catalog = catalog
        self._listing = listing

    def open(self, who: Principal, wanted: EventFilter, text: str | None, described: Mapping[str, object]) -> EventFile:
        """Return the file of the latest events of a filter.

        Args:
            text: text that a context item of each event must contain.
            described: the filter in words, for the audit log.

        Raises:
            Forbidden, InputInvalid: see `Listing.page`.
            RateLimited: too many files are being downloaded.
        """
        self._listing.page(who, wanted, 1, text=text)  # it checks what may be seen, and the text
        visible = replace(wanted, customers=who.customers)
        layout = Layout(POSITIONAL) if wanted.product is None else self._catalog.layout(wanted.product, None)
        file = EventFile(who, lambda: read(lambda: _find(visible, text)), layout)
        details = audit.without_sought(described) | {"rows": file.rows, "cut": file.is_cut}
        audit.note(who, "events downloaded", "events", details, customer=wanted.customer or "")
        return file


def _find(wanted: EventFilter, text: str | None) -> DownloadRows:
    if text is None and wanted.item is None:
        positions = pages.positions(wanted, MAX_ROWS + 1)
        return DownloadRows([key for _, key in positions[:MAX_ROWS]], len(positions) > MAX_ROWS)
    keys, searched, rest = list[int](), 0, wanted
    while True:
        found = search.search(rest, MAX_ROWS + 1, text)
        keys += [key for _, key in found.positions]
        searched += MAX_SEARCHED // INDEX_ROUNDS if found.looked is None else found.looked
        if len(keys) > MAX_ROWS or found.edge is None or searched >= MAX_SEARCHED:
            return DownloadRows(keys[:MAX_ROWS], len(keys) > MAX_ROWS or found.edge is not None)
        rest = replace(wanted, after=found.edge)


def _blocks(who: Principal, keys: Sequence[int], layout: Layout) -> Iterator[bytes]:
    """Yield the lines, each block read by a connection that is released before the client receives it."""
    line, fill = csv.line_writer(",", safe=True), cells(layout, 0) if layout.kind == COLUMNS else None
    names = layout.names((TIME, *BEFORE, *AFTER)) if fill else ["context"]
    yield MARK + line([TIME, *BEFORE, *names, *AFTER])
    for begin in range(0, len(keys), ROWS_AT_ONCE):
        some = keys[begin : begin + ROWS_AT_ONCE]
        try:
            rows = read(partial(pages.rows, some))
        finally:
            release()
        yield b"".join(line(_cells(row, fill)) for row in rows if who.sees(row[0]))


def _cells(row: Sequence[Any], fill: Cells | None) -> list[Cell]:
    event = dict(zip(EVENT_COLUMNS, row, strict=False))  # the id follows
    context = items(event["context"])
    named = fill(event["type"], context) if fill else [orjson.dumps(context).decode()]
    moment = datetime.fromtimestamp(event["timestamp"] // 1000, UTC)
    # As spreadsheets read it: 2026-11-23 14:02:11.482.
    time = f"{moment.year:04}-{moment:%m-%d %H:%M:%S}.{event['timestamp'] % 1000:03}"
    return [time, *map(event.get, BEFORE), *named, *(str(event[name]) for name in AFTER)]
