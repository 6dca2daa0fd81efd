"""`Tally`: the client as a program uses it."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Union
from urllib.parse import quote

from tally_client.encode import Encoder, Item, Timestamp
from tally_client.errors import InvalidSetting
from tally_client.queue import DROP_OLDEST, OVERFLOWS, Limits, MemoryQueue, Queue
from tally_client.reading import Changes, Codes, Event, Moment, Reader, Report, make_filter, name_codes
from tally_client.rejected import Rejected, RejectedEvents
from tally_client.sender import Sender, Stats
from tally_client.spool import FSYNCS, INTERVAL, Spool
from tally_client.transport import Connection, authorization, parse_server

Folder = Union[str, "os.PathLike[str]"]

MIN_QUEUE_BYTES = 4 * 1024 * 1024  # more than the largest event
FORMATS = ("csv", "jsonl", "parquet")


class Tally:
    """A client of a Tally service. Threads may share it, and forked processes each continue with a queue of their own.

    Args:
        url: the address of the service.
        key: an ingest key, if the service requires one to record events.
        spool: a folder where events wait until they are sent. Several processes may share it. None means in memory.
        fsync: when the disk itself has an event in the spool: before `record` returns ("always"), after
            `batch_seconds` unless it has been sent ("interval"), or when the system decides ("never").
        batch_events: the maximum number of events in a request.
        batch_bytes: the maximum size of a request.
        batch_seconds: how long an event waits for others.
        max_bytes: the maximum size of all events that wait.
        overflow: what happens beyond it: "drop-oldest", "drop-newest", "block" (`record` waits) or "raise".
        rejected: a function of a list of events and the reason, or a file, for events that the service refuses for
            good. With a spool, the default is the file `rejected.jsonl` in it.
        exit_seconds: how long the end of the program waits for the events to be sent.
        timeout: seconds that a request to record events waits for a byte from the service.
        user, password: of a person, to read events.
        token: an API token, to read events.

    Raises:
        InvalidSetting: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        spool: Folder | None = None,
        *,
        fsync: str = INTERVAL,
        batch_events: int = 1000,
        batch_bytes: int = 1024 * 1024,
        batch_seconds: float = 1.0,
        max_bytes: int = 256 * 1024 * 1024,
        overflow: str = DROP_OLDEST,
        rejected: Rejected | Folder | None = None,
        exit_seconds: float = 5.0,
        timeout: float = 30.0,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> None:
        server = parse_server(url)
        _check_choice("fsync", fsync, FSYNCS)
        _check_choice("overflow", overflow, OVERFLOWS)
        _check_number("batch_events", batch_events, 1, 100_000)
        _check_number("batch_bytes", batch_bytes, 1024, 1024**3)
        _check_number("batch_seconds", batch_seconds, 0.001, 3600)
        _check_number("max_bytes", max_bytes, MIN_QUEUE_BYTES, 1024**5)
        _check_number("exit_seconds", exit_seconds, 0, 3600)
        _check_number("timeout", timeout, 0.001, 3600)
        for name, text in (("key", key), ("token", token)):
            if text is not None and not (isinstance(text, str) and text.isascii() and text.isprintable() and text):
                raise InvalidSetting(f"{name} must be a string of printable ASCII characters, without line ends.")
        if token is not None and user is not None:
            raise InvalidSetting("token and user are both given; pass one of them.")
        if (user is None) != (password is None):
            raise InvalidSetting("user and password belong together; pass both, or a token.")
        self._limits = Limits(batch_events, batch_bytes, batch_seconds, max_bytes, overflow)
        self._spool = None if spool is None else Path(spool).absolute()
        self._fsync = fsync
        self._exit_seconds = exit_seconds
        self._server, self._timeout = server, timeout
        self._key_header = authorization(key, None, None)
        self._reader = Reader(server, authorization(token, user, password))
        if rejected is None or callable(rejected):
            default = None if self._spool is None else self._spool / "rejected.jsonl"
            self._rejected = RejectedEvents(default if rejected is None else rejected)
        else:
            self._rejected = RejectedEvents(Path(rejected).absolute())
        self._encode = Encoder().encode
        self._queue, self._sender = self._make_queue()
        if isinstance(self._queue, Spool):
            self._queue.open()
            self._start()  # because events of earlier processes may wait there

    def record(
        self,
        customer: str,
        product: str,
        type: str,
        *context: Item,
        timestamp: Timestamp | None = None,
        version: str | None = None,
    ) -> None:
        """Record that something happened. A thread sends it.

        Args:
            customer, product, type: who did what where, strings of 1 to 128 characters.
            context: the details, at most 100 strings, numbers, booleans or None.
            timestamp: when it happened, a datetime or milliseconds since 1970; None means now.
            version: of the product.

        Raises:
            InvalidEvent: a field is invalid; the message names it.
            QueueFull: too many events wait, with the overflow "raise".
            ClientClosed: the client is closed.
            OSError: the disk fails, with the fsync "always".
        """
        self._queue.append(self._encode(customer, product, type, context, timestamp, version))

    def flush(self, timeout: float = 30.0) -> bool:
        """Send what was recorded until now, and what earlier programs left in the spool.

        Return whether the service stored or rejected all of it in time.
        """
        return self._sender.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Send what waits within a time (`exit_seconds`), and end. In a spool, the rest waits for the next process."""
        self._sender.stop(self._exit_seconds if timeout is None else timeout)
        self._queue.close()
        _clients.discard(self)

    @property
    def stats(self) -> Stats:
        """Return the numbers of events that were recorded, sent, rejected and dropped, and that wait."""
        return self._sender.stats()

    def events(
        self,
        customer: str | None = None,
        product: str | None = None,
        types: Codes = (),
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: int | None = None,
        context: str | None = None,
        value: str | None = None,
        batch: str | None = None,
    ) -> Iterator[Event]:
        """Yield the events that match, newest first, at most `limit`.

        Args:
            types: an event type or several; empty means all.
            start, end: both included: a datetime, a date (the whole day in UTC), or milliseconds since 1970.
            value: only events with this item in their context; a rare one may take several requests.
            context: the item's name in the catalog; None means any item.
            batch: only events of this batch; the response to their request contains its id.

        Raises:
            RequestFailed: the service rejects the request, or cannot be reached.
        """
        filter = make_filter(customer, product, types, start, end)
        more = {"context": context, "value": value, "batch": batch}
        return self._reader.events(filter | {name: one for name, one in more.items() if one is not None}, limit)

    def changes(
        self,
        customer: str | None = None,
        product: str | None = None,
        types: Codes = (),
        *,
        after: str | None = None,
        wait: int = 30,
    ) -> Iterator[Changes]:
        """Yield the events that match, some at a time, once each and in the order of acceptance, and follow new ones.

        Keep `cursor` of what is yielded together with what you made of its `events`. `events` may be empty: the cursor
        has then advanced over what does not match.

        Args:
            types: an event type or several; empty means all.
            after: a cursor to continue from, "now" for the end, or None for the oldest event.
            wait: for how many seconds at most, up to 60, the service waits for a new event. With 0 the iteration ends
                once all events have been yielded.

        Raises:
            RequestFailed: the service rejects the request, or cannot be reached for a long time. With `status` 410,
                events that follow `after` cannot be read any more, and the message says how to go on.
        """
        return self._reader.changes(make_filter(customer, product, types, None, None), after, wait)

    def report(
        self,
        customer: Codes,
        product: Codes,
        types: Codes = (),
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        format: str = "csv",
        **output: object,
    ) -> Report:
        """Start a report: a file with every event that matches.

        Args:
            customer, product: one code, or several; the file then has a column for them.
            types, start, end: as for `events`.
            format: "csv" (with a header, separated by commas), "jsonl" or "parquet".
            output: further options of the API, such as `layout="positional"` or `compression="gzip"`.

        Raises:
            RequestFailed: the service rejects the report, or cannot be reached.
        """
        _check_choice("format", format, FORMATS)
        looks = {"delimiter": ",", "header": True} if format == "csv" else {}
        body = {
            "filter": {
                **name_codes("customer", customer),
                **name_codes("product", product),
                **make_filter(None, None, types, start, end),
            },
            "output": {**looks, "format": format, **output},
        }
        return Report(self._reader, self._reader.ask("POST", "/reports", body))

    def find_report(self, source: str) -> Report:
        """Return an earlier report by its `source`."""
        return Report(self._reader, self._reader.ask("GET", f"/reports/{quote(source, safe='')}/availability"))

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _make_queue(self) -> tuple[Queue, Sender]:
        queue: Queue
        if self._spool is None:
            queue = MemoryQueue(self._limits, self._start)
        else:
            queue = Spool(self._spool, self._fsync, self._limits, self._start)
        return queue, Sender(queue, Connection(self._server, self._key_header, self._timeout), self._rejected)

    def _start(self) -> None:
        _clients.add(self)
        self._sender.ensure_started()

    def _after_fork(self) -> None:
        """Leave the queue to the parent, and continue with an empty one."""
        self._queue.abandon()
        self._queue, self._sender = self._make_queue()


_clients: set[Tally] = set()  # those with a thread


def _close_all() -> None:
    for client in list(_clients):
        client.close()


def _after_fork() -> None:
    for client in list(_clients):
        client._after_fork()
    _clients.clear()


atexit.register(_close_all)
with contextlib.suppress(AttributeError):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise InvalidSetting(f"{name} is {value!r}; it must be one of {listed}.")


def _check_number(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InvalidSetting(f"{name} is {value!r}; it must be a number from {least:,} to {most:,}.")
