"""COPY without psycopg's cursors, both ways, where each event counts.

In: a transaction that only inserts events takes two round trips instead of five, as all of it is one message.

The simple query protocol takes several statements at once and stops at COPY until the data has come
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SIMPLE-QUERY). psycopg's cursors send one
statement at a time, so this speaks with its public libpq wrapper. That one holds on to the interpreter while it waits
for an answer, so every wait here is a poll.

Out: the rows that have arrived are taken together; a cursor hands over each one by itself.
"""

from __future__ import annotations

import select
from collections.abc import Generator

from psycopg.errors import OperationalError, error_from_result
from psycopg.pq import ExecStatus, PGresult, TransactionStatus
from psycopg.pq.abc import PGconn

from app.store.backends.row import BLOCK_BYTES, Block


def begin(pgconn: PGconn, statements: bytes) -> bytes:
    """Send statements of which the first begins, the second answers a value, the third is COPY FROM STDIN; the value.

    Raises:
        psycopg.Error: whatever the server, or the way to it, has to say.
    """
    pgconn.send_query(statements)
    _expect(pgconn, ExecStatus.COMMAND_OK)
    value = _expect(pgconn, ExecStatus.TUPLES_OK).get_value(0, 0)
    _expect(pgconn, ExecStatus.COPY_IN)
    return value


def receive(pgconn: PGconn, query: bytes, statement: bytes) -> Generator[Block]:
    """The rows of a COPY TO STDOUT, in a transaction of its own that begins with a query.

    Raises:
        psycopg.Error: whatever the server, or the way to it, has to say.
    """
    pgconn.send_query(b"BEGIN; %b; %b; COMMIT" % (query, statement))
    _expect(pgconn, ExecStatus.COMMAND_OK)
    _expect(pgconn, ExecStatus.TUPLES_OK)
    _expect(pgconn, ExecStatus.COPY_OUT)
    data, rows, more = bytearray(), 0, 0
    while more >= 0:
        more, row = pgconn.get_copy_data(1)
        if more > 0:
            data += row  # views in a list would have the garbage collector look at everything, again and again
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
    """Whether the server is at something, or gone."""
    return pgconn.transaction_status in (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)


def is_under_way(pgconn: PGconn) -> bool:
    """Whether the server waits for data."""
    return pgconn.transaction_status == TransactionStatus.ACTIVE


def send(pgconn: PGconn, data: bytes) -> None:
    """Send lines of COPY's text format."""
    pgconn.put_copy_data(data)
    _flush(pgconn)


def end(pgconn: PGconn) -> None:
    """End the data; when this returns, the statement behind COPY, which commits, has been carried out."""
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
        pgconn.consume_input()  # the server may have something to say first, and not listen until it is heard


def _wait(pgconn: PGconn, events: int) -> None:
    poll = select.poll()
    poll.register(pgconn.socket, events)
    poll.poll()
