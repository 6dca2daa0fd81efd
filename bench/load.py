"""Load generator for one route: POST over many persistent connections, each with one request in progress.

It shares two cores with what it measures, so a request must cost it little: bodies are created in advance, one thread
waits for all connections, and it reads only the status and length of a response. At the end it waits for all responses,
so that everything sent was answered within the counted time, however unevenly a server responds.
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
PATIENCE_SECONDS = 60  # without any response on any connection
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END = b"\r\n\r\n"
CHUNK = 1 << 18
SECONDS = b"@SECONDS@@"  # placeholder for ten digits, the seconds of an event's time
CUSTOMERS = ("BARCHART", "HARBORLINE", "FERNHILL")
PRODUCT, TYPE = "PORTFOLIO", "PORTFOLIO-VIEW-CHANGED"
VIEWS = ("Overview", "Positions", "Performance", "Dividends", "News", "Settings")
BODIES = 256  # least number of different events in the bodies of a batch size


@dataclass(frozen=True)
class Outcome:
    """Result of a load."""

    requests: int
    events: int
    seconds: float  # from the first request to the last response
    median_ms: float  # of a request
    p99_ms: float

    @property
    def rate(self) -> float:
        """Return the events per second."""
        return self.events / self.seconds


def context(number: int) -> list[str]:
    """Return the context of the numbered event: three strings, as the sample catalog describes TYPE."""
    views = len(VIEWS)
    return [f"user-{number % 997}", VIEWS[number % views], VIEWS[number * 5 % views]]


def bodies(batch: int) -> list[bytes]:
    """Return request bodies of `batch` events each, with SECONDS in place of the time."""
    count = max(4, BODIES // batch)
    return [_body(range(first, first + batch)) for first in range(0, count * batch, batch)]


def _body(numbers: Sequence[int]) -> bytes:
    return b'{"events":[' + b",".join(map(_event, numbers)) + b"]}"


def _event(number: int) -> bytes:
    event = {"customer": CUSTOMERS[number % len(CUSTOMERS)], "product": PRODUCT, "type": TYPE}
    start = orjson.dumps(event).removesuffix(b"}")
    return b'%s,"timestamp":%s%03d,"context":%s}' % (start, SECONDS, number % 1000, orjson.dumps(context(number)))


class Source(Protocol):
    """Source of requests with `batch` events each."""

    batch: int

    def next(self, now: float) -> bytes:
        """Return the next request; `now` is of time.perf_counter()."""


class Requests:
    """Complete requests, ready to send, that repeat. They are rebuilt each second with the current time."""

    def __init__(self, port: int, batch: int) -> None:
        self.batch = batch
        self._templates = [head(port, len(body)) + body for body in bodies(batch)]
        self._ready: Iterator[bytes] = iter(())
        self._until = 0.0

    def next(self, now: float) -> bytes:
        """Return the next request; `now` is of time.perf_counter()."""
        if now >= self._until:
            self._until = now + 1
            stamp = b"%010d" % time.time()
            self._ready = cycle([template.replace(SECONDS, stamp) for template in self._templates])
        return next(self._ready)


def head(port: int, length: int) -> bytes:
    """Return the head of a request with a body of that length."""
    return (
        f"POST /events HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


class Connection:
    """A persistent connection with at most one request in progress."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left: int | None = None  # remaining bytes of the response, or None if its head is incomplete
        self._head = b""
        self.sent = 0.0

    def fileno(self) -> int:
        """Return the descriptor of the socket, for the poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, request: bytes, now: float) -> None:
        """Send a complete request when none is in progress."""
        self.sent, self._left, self._head = now, None, b""
        self._socket.sendall(request)

    def receive(self) -> bool:
        """Read what has arrived, and return whether the response is complete. Call it when the socket is readable.

        Raises:
            BenchFailed: the response is not 200, or the server closed the connection.
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
    """Post batches for `seconds` on all connections, then wait for the outstanding responses.

    Args:
        shape: kind of events; takes the port and the batch.

    Raises:
        BenchFailed: a response is not 200, a connection was closed, or none responded for PATIENCE_SECONDS.
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
