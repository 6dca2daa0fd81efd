"""COPY in both directions without psycopg's cursors, for speed per event.

In: a transaction that only inserts events takes two round trips instead of five, because all of it is one message.
The simple query protocol accepts several statements at once and stops at COPY until the data arrives
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SIMPLE-QUERY). psycopg's cursors send one
statement at a time, so this module uses psycopg's public libpq wrapper. The wrapper holds the GIL while it waits for a
response, so every wait here is a poll.

Out: the rows that have arrived are read together, whereas a cursor returns each row separately.
"""

from __future__ import annotations

import re
import select
from collections.abc import Generator, Iterable
from io import BytesIO
from itertools import chain, islice
from typing import Any

from psycopg.errors import OperationalError, error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from app.event_columns import COLUMNS, CONTEXT_INDEX, EventRow
from app.store.backends.backend import BLOCK_BYTES, Block

KINDS = list(enumerate(COLUMNS.values()))
TEXT_INDEXES = [index for index, kind in KINDS if kind in ("text", "text or null")]
OPTIONAL_INDEXES = [index for index, kind in KINDS if kind == "text or null"]
NUMBER_INDEXES = [index for index, kind in KINDS if kind in ("time", "number")]
ENCODED_ROWS = 1_000  # per step, because strings use more memory than encoded lines
NULL = "\\N"
# Characters with a special meaning in COPY's text format, or in an array literal inside it.
SPECIAL = re.compile(r'["\\\t\n\r]')
IN_TEXT = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
# Escaped twice: for the array literal, and for COPY.
IN_ARRAY = str.maketrans({"\\": "\\\\\\\\", '"': '\\\\"', "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def encode(rows: Iterable[EventRow]) -> bytes:
    """Return events as lines of COPY's text format."""
    left, lines = iter(rows), BytesIO()
    while some := list(islice(left, ENCODED_ROWS)):
        columns: list[Iterable[Any]] = list(zip(*some, strict=True))
        contexts = columns[CONTEXT_INDEX]
        if _are_plain(contexts, *[columns[index] for index in TEXT_INDEXES]):
            columns[CONTEXT_INDEX] = ['{"' + '","'.join(items) + '"}' if items else "{}" for items in contexts]
            for index in OPTIONAL_INDEXES:
                columns[index] = [NULL if text is None else text for text in columns[index]]
        else:
            columns[CONTEXT_INDEX] = [f"{{{','.join(map(_escape_item, items))}}}" for items in contexts]
            for index in TEXT_INDEXES:
                columns[index] = [NULL if text is None else text.translate(IN_TEXT) for text in columns[index]]
        for index in NUMBER_INDEXES:
            columns[index] = map(str, columns[index])
        lines.write(("\n".join(map("\t".join, zip(*columns, strict=True))) + "\n").encode())
    return lines.getvalue()


def _are_plain(contexts: Iterable[Any], *columns: Iterable[Any]) -> bool:
    """Return whether no text of many rows needs escaping. One search over all of them is cheaper than one per text."""
    try:
        texts = "\0".join([*filter(None, chain(*columns)), *chain.from_iterable(contexts)])
    except TypeError:  # a null in a context
        return False
    return not SPECIAL.search(texts)


def _escape_item(item: str | None) -> str:
    return "NULL" if item is None else f'"{item.translate(IN_ARRAY)}"'


def begin(pgconn: PGconn, statements: bytes) -> bytes:
    """Send BEGIN, a query for one value and COPY FROM STDIN in one message, and return the value.

    Raises:
        psycopg.Error: the server reports an error, or the connection fails.
    """
    pgconn.send_query(statements)
    _expect(pgconn, ExecStatus.COMMAND_OK)
    value = _expect(pgconn, ExecStatus.TUPLES_OK).get_value(0, 0)
    _expect(pgconn, ExecStatus.COPY_IN)
    return value or b""


def receive(pgconn: PGconn, query: bytes, statement: bytes) -> Generator[Block]:
    """Yield the rows of a COPY TO STDOUT statement, in a transaction of its own that begins with a query.

    Raises:
        psycopg.Error: the server reports an error, or the connection fails.
    """
    pgconn.send_query(b"BEGIN; %b; %b; COMMIT" % (query, statement))
    _expect(pgconn, ExecStatus.COMMAND_OK)
    _expect(pgconn, ExecStatus.TUPLES_OK)
    _expect(pgconn, ExecStatus.COPY_OUT)
    data, rows, more = bytearray(), 0, 0
    while more >= 0:
        more, row = pgconn.get_copy_data(1)
        if more > 0:
            data += row  # one buffer, because the garbage collector would repeatedly scan a list of views
            rows += 1
            if len(data) < BLOCK_BYTES:
                continue
        elif more == 0:
            _wait(pgconn, select.POLLIN)
            pgconn.consume_input()
            continue
        if rows:
            yield bytes(data), rows
            data.clear()
            rows = 0
    _expect(pgconn, ExecStatus.COMMAND_OK)
    _expect(pgconn, ExecStatus.COMMAND_OK)
    _next(pgconn)


def is_busy(pgconn: PGconn) -> bool:
    """Return whether the server is executing a statement or the connection is lost."""
    return pgconn.transaction_status in (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)


def is_under_way(pgconn: PGconn) -> bool:
    """Return whether the server is waiting for COPY data."""
    return pgconn.transaction_status == TransactionStatus.ACTIVE


def send(pgconn: PGconn, data: bytes) -> None:
    """Send lines of COPY's text format."""
    pgconn.put_copy_data(data)
    _flush(pgconn)


def end(pgconn: PGconn) -> None:
    """End the COPY data, and return once the COMMIT that follows COPY has been executed."""
    pgconn.put_copy_end()
    _flush(pgconn)
    _expect(pgconn, ExecStatus.COMMAND_OK)
    _expect(pgconn, ExecStatus.COMMAND_OK)
    if _next(pgconn) is not None:
        raise OperationalError("the server answered more than it was asked")


def _expect(pgconn: PGconn, status: ExecStatus) -> PGresult:
    result = _next(pgconn)
    if result is None:
        raise OperationalError("the server answered less than it was asked")
    if result.status != status:
        raise error_from_result(result)
    return result


def _next(pgconn: PGconn) -> PGresult | None:
    while pgconn.is_busy():
        _wait(pgconn, select.POLLIN)
        pgconn.consume_input()
    return pgconn.get_result()


def _flush(pgconn: PGconn) -> None:
    while pgconn.flush():
        _wait(pgconn, select.POLLIN | select.POLLOUT)
        pgconn.consume_input()  # the server may block until its own output is read


def _wait(pgconn: PGconn, events: int) -> None:
    poll = select.poll()
    poll.register(pgconn.socket, events)
    poll.poll()
