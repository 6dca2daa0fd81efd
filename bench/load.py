"""A load generator for one route: POST over many kept connections, each with one request under way.

It shares two cores with what it measures, so a request costs it little: bodies are made beforehand, one thread waits
for all connections, and of an answer it reads the status and the length. It ends by waiting for every answer under
way: then everything sent was answered within the time counted, however unevenly a server answers.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

import orjson

from bench.servers import HOST, BenchFailed

CONNECTIONS = 64
PATIENCE_SECONDS = 60  # without any answer on any connection
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END = b"\r\n\r\n"
CHUNK = 1 << 18
SECONDS = b"@SECONDS@@"  # in a body: the seconds of an event's time, ten digits, filled in when it is sent
CUSTOMERS = ("BARCHART", "HARBORLINE", "FERNHILL")
PRODUCT, TYPE = "PORTFOLIO", "PORTFOLIO-VIEW-CHANGED"
VIEWS = ("Overview", "Positions", "Performance", "Dividends", "News", "Settings")
BODIES = 256  # events in the bodies of a batch size, at least, before they come again


@dataclass(frozen=True)
class Outcome:
    """What a load came to."""

    requests: int
    events: int
    seconds: float  # from the first request to the last answer
    median_ms: float  # of a request
    p99_ms: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


def context(number: int) -> list[str]:
    """The context of the numbered event: three strings, as the sample catalog gives TYPE."""
    views = len(VIEWS)
    return [f"user-{number % 997}", VIEWS[number % views], VIEWS[number * 5 % views]]


def bodies(batch: int) -> list[bytes]:
    """Request bodies of `batch` events each, with SECONDS where the time goes."""
    count = max(4, BODIES // batch)
    return [_body(range(first, first + batch)) for first in range(0, count * batch, batch)]


def _body(numbers: Sequence[int]) -> bytes:
    return b'{"events":[' + b",".join(map(_event, numbers)) + b"]}"


def _event(number: int) -> bytes:
    event = {"customer": CUSTOMERS[number % len(CUSTOMERS)], "product": PRODUCT, "type": TYPE}
    start = orjson.dumps(event).removesuffix(b"}")
    return b'%s,"timestamp":%s%03d,"context":%s}' % (start, SECONDS, number % 1000, orjson.dumps(context(number)))


class Source(Protocol):
    """Where requests come from, each of `batch` events."""

    batch: int

    def next(self, now: float) -> bytes:
        """The next request; `now` is of time.perf_counter()."""


class Requests:
    """Whole requests, ready to send, that come round and round; made anew each second, so that time goes on."""

    def __init__(self, port: int, batch: int) -> None:
        self.batch = batch
        self._templates = [head(port, len(body)) + body for body in bodies(batch)]
        self._ready: Iterator[bytes] = iter(())
        self._until = 0.0

    def next(self, now: float) -> bytes:
        """The next request; `now` is of time.perf_counter()."""
        if now >= self._until:
            self._until = now + 1
            stamp = b"%010d" % time.time()
            self._ready = cycle([template.replace(SECONDS, stamp) for template in self._templates])
        return next(self._ready)


def head(port: int, length: int) -> bytes:
    """What stands before a request's body of that length."""
    return (
        f"POST /events HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


class Connection:
    """One kept connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left: int | None = None  # bytes of the answer still to come; None: its head isn't complete
        self._head = b""
        self.sent = 0.0

    def fileno(self) -> int:
        """The socket's, for the poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, request: bytes, now: float) -> None:
        """Send a whole request; nothing may be under way."""
        self.sent, self._left, self._head = now, None, b""
        self._socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; whether the answer is complete. Call it when there is something.

        Raises:
            BenchFailed: the answer is not 200, or the server closed the connection.
        """
        data = self._socket.recv(CHUNK)
        if not data:
            raise BenchFailed("The server closed a connection before it answered.")
        if self._left is None:
            self._head += data
            return self._begin()
        self._left -= len(data)
        return self._left == 0

    def _begin(self) -> bool:
        end = self._head.find(END)
        if end < 0:
            return False
        length = LENGTH.search(self._head, 0, end)
        if not self._head.startswith(b"HTTP/1.1 200") or length is None:
            raise BenchFailed(f"The server answered: {self._head[:500].decode(errors='replace')}")
        self._left = int(length[1]) + end + len(END) - len(self._head)
        return self._left == 0


def load(
    port: int,
    batch: int,
    seconds: float,
    connections: int = CONNECTIONS,
    shape: Callable[[int, int], Source] = Requests,
) -> Outcome:
    """Post batches for `seconds` on all connections, then wait for the answers under way.

    Args:
        shape: what the events are like; it takes the port and the batch.

    Raises:
        BenchFailed: an answer that is not 200, a closed connection, or none at all for PATIENCE_SECONDS.
    """
    with ExitStack() as stack:
        opened = [Connection(port) for _ in range(connections)]
        for connection in opened:
            stack.callback(connection.close)
        return _drive(opened, shape(port, batch), seconds)


def _drive(connections: Sequence[Connection], requests: Source, seconds: float) -> Outcome:
    by_number = {connection.fileno(): connection for connection in connections}
    times: list[float] = []
    with select.epoll() as poll:
        began = time.perf_counter()
        for number, connection in by_number.items():
            poll.register(number, select.EPOLLIN)
            connection.send(requests.next(began), began)
        under_way = len(by_number)
        while under_way:
            for connection in _answered(poll, by_number):
                now = time.perf_counter()
                times.append(now - connection.sent)
                if now - began < seconds:
                    connection.send(requests.next(now), now)
                else:
                    under_way -= 1
        return _outcome(times, time.perf_counter() - began, requests.batch)


def _answered(poll: select.epoll, by_number: dict[int, Connection]) -> Iterator[Connection]:
    ready = poll.poll(PATIENCE_SECONDS)
    if not ready:
        raise BenchFailed(f"The server has not answered for {PATIENCE_SECONDS} s.")
    for number, _ in ready:
        if by_number[number].receive():
            yield by_number[number]


def _outcome(times: list[float], seconds: float, batch: int) -> Outcome:
    times.sort()
    median, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return Outcome(len(times), len(times) * batch, seconds, median, p99)
