"""Slow clients: how long an honest client's single events take beside clients that send one byte a second.

    python -m bench.slow [--short] [--json FILE]

Half of the slow clients never finish a header, and half never finish a body. A disconnected one reconnects at once, so
that their number is constant. The honest client is measured on one persistent connection and with a new connection for
each event, because these wait in different queues. The service runs as usual. The short form ends before the server's
deadline for a header, and the long one after it.
"""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from bench.databases import STAGES, Stage
from bench.load import Connection, Requests
from bench.report import Figure, Goal, command, progress, table
from bench.servers import HOST, SERVICE, Web

NUMBERS = (0, 40, 400)  # of slow headers, and as many slow bodies
GOALS = {40: Goal(100, at_most=True), 400: Goal(1000, at_most=True)}  # milliseconds, of the 99th percentile
REQUESTS = 300  # at least, however long they take
SECONDS, SECONDS_SHORT = 20.0, 2.0  # at least
PATIENCE_SECONDS = 120  # then the figures are of what was answered so far
SETTLE_SECONDS = 3  # until every slow client is connected, or was served and disconnected
TICKS = 50  # a second; in each one some of the slow clients send their byte
HEAD = b"POST /events HTTP/1.1\r\nHost: tally.test\r\nContent-Type: application/json\r\n"
SLOW_HEADER = HEAD + b"X-Slow: "
SLOW_BODY = HEAD + b"Content-Length: 200\r\n\r\n["  # more than it ever sends
HEADINGS = (
    "database",
    "honest client",
    "slow",
    "requests",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "slow bytes",
    "came back",
)

Way = Callable[[], None]  # sends an event, and returns when it is answered


@dataclass(frozen=True)
class Times:
    """Durations of one kind of requests beside so many slow clients, in milliseconds."""

    database: str
    way: str
    number: int
    spent: Sequence[float]  # ascending
    dripped: int  # bytes that slow clients sent meanwhile
    returns: int  # disconnected slow clients meanwhile

    def at(self, share: float) -> float:
        """Return the duration that this share of the requests did not exceed."""
        return self.spent[min(len(self.spent) - 1, int(len(self.spent) * share))]

    def figure(self) -> Figure:
        """Return the 99th percentile and its goal."""
        slow = f"{self.number} slow headers and {self.number} slow bodies"
        name = f"slow clients, {self.database}, {self.way}, beside {slow}, p99"
        return Figure(name, self.at(0.99), "ms", goal=GOALS.get(self.number))

    def row(self) -> list[str]:
        """Return a line of the table."""
        marks = [f"{self.at(share):,.1f}" for share in (0.5, 0.99, 1)]
        number = f"{self.number} + {self.number}"
        return [
            self.database,
            self.way,
            number,
            f"{len(self.spent):,}",
            *marks,
            f"{self.dripped:,}",
            f"{self.returns:,}",
        ]


class Slow:
    """A client that sends the start of a request and then single bytes, and reconnects when it is disconnected."""

    def __init__(self, port: int, start: bytes) -> None:
        self._port, self._start = port, start
        self.returns = self.sent = 0
        self._begin()

    def send(self) -> None:
        """Send a byte, or reconnect if the server has responded or closed."""
        try:
            self._socket.send(b" ")
            self.sent += 1
            self._socket.recv(1)  # nothing to read means neither a response nor a disconnect
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        self.returns += 1
        self.close()
        self._begin()

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _begin(self) -> None:
        self._socket = socket.create_connection((HOST, self._port), PATIENCE_SECONDS)
        self._socket.sendall(self._start)
        self._socket.setblocking(False)


@contextmanager
def slow_clients(port: int, number: int) -> Iterator[Sequence[Slow]]:
    """Run so many slow headers and slow bodies, each with a byte a second."""
    clients = [Slow(port, start) for _ in range(number) for start in (SLOW_HEADER, SLOW_BODY)]
    stop = threading.Event()
    thread = threading.Thread(target=_drip, args=(clients, stop))
    thread.start()
    try:
        yield clients
    finally:
        stop.set()
        thread.join()
        for client in clients:
            client.close()


def _drip(clients: Sequence[Slow], stop: threading.Event) -> None:
    """Spread the bytes over the second, as real clients would."""
    tick, due = 0, time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        for client in clients[tick % TICKS :: TICKS]:
            client.send()
        tick, due = tick + 1, due + 1 / TICKS


def run(short: bool) -> list[Figure]:
    """Measure both databases, and print the results."""
    _allow_open_files()
    measured: list[Times] = []
    for stage in STAGES:
        with stage() as opened:
            measured += _measure(opened, SECONDS_SHORT if short else SECONDS)
    progress()
    print(f"{table(HEADINGS, [times.row() for times in measured])}\n", flush=True)
    return [times.figure() for times in measured]


def _allow_open_files() -> None:
    """Raise the soft limit as the service's own start does; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _measure(stage: Stage, seconds: float) -> Iterator[Times]:
    url, _ = stage.create("slow")
    server = stage.serve(SERVICE, "slow", url)
    for number in NUMBERS:
        progress(f"{stage.database}: an honest client beside {number} + {number} slow ones")
        with slow_clients(server.port, number) as clients, _ways(server) as ways:
            time.sleep(SETTLE_SECONDS)
            for name, way in ways.items():
                sent, returns = _done_by(clients)
                spent = sorted(_times(way, seconds))
                sent_now, returns_now = _done_by(clients)
                yield Times(stage.database, name, number, spent, sent_now - sent, returns_now - returns)


def _done_by(clients: Sequence[Slow]) -> tuple[int, int]:
    """Return the bytes that they sent so far, and how often they reconnected."""
    return sum(client.sent for client in clients), sum(client.returns for client in clients)


@contextmanager
def _ways(server: Web) -> Iterator[dict[str, Way]]:
    requests = Requests(server.port, 1)
    kept = Connection(server.port)
    try:
        yield {"kept connection": partial(_post, kept, requests), "new ones": partial(_post_anew, server, requests)}
    finally:
        kept.close()


def _post(connection: Connection, requests: Requests) -> None:
    connection.send(requests.next(time.perf_counter()), 0)
    while not connection.receive():
        pass


def _post_anew(server: Web, requests: Requests) -> None:
    connection = Connection(server.port)
    try:
        _post(connection, requests)
    finally:
        connection.close()


def _times(way: Way, seconds: float) -> Iterator[float]:
    """Return the milliseconds of sequential requests."""
    began = now = time.perf_counter()
    count = 0
    while now - began < (seconds if count >= REQUESTS else PATIENCE_SECONDS):
        with suppress(TimeoutError):  # it is counted with the time waited for it
            way()
        before, now = now, time.perf_counter()
        count += 1
        yield (now - before) * 1000


if __name__ == "__main__":
    command("bench.slow", "An honest client beside slow ones.", run)
