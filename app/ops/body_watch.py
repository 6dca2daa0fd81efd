"""Limit the threads that clients can block by sending a request body slowly, or not at all.

A read of a body blocks its thread until the bytes arrive or the connection ends. Nothing in Python can interrupt it,
and granian cannot even respond to a request while one of its reads is in progress. This module therefore sets two
limits. First, only `MAX_READS` threads may read bodies at the same time, so that requests without a body, such as
probes, still find a thread. Second, a watch thread shuts the receiving side of connections that are silent for too
long, which ends their reads.

The server does not reveal which connection carries a request. Linux reports for each socket how long ago it sent and
received data. The watch shuts a connection only if all of these hold: it comes from the address of an overdue read to
the server's port, it received data after it last sent data, and it has sent nothing since that body began. Without
/proc only the first limit applies.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from app.exceptions import BodyMalformed, Overloaded

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_READS = 448  # of the 512 threads that `programs` gives a web process
SILENT_SECONDS = 10.0
CROWDED_SILENT_SECONDS = 2.0  # once half of MAX_READS are in use
LOOK_SECONDS = 0.5
CLOCK_MS = 10  # resolution of the kernel's clock for these times
TCP_INFO = struct.Struct("=44xI4xI")  # milliseconds since data was last sent, and last received
CLOSE_WAIT = 8  # state of a connection that the peer has closed, in the first byte of tcp_info
DESCRIPTORS = Path("/proc/self/fd")

_reads: dict[int, WatchedBody] = {}  # by thread id
_starting = threading.Lock()
_watch: threading.Thread | None = None


def watch(environ: WSGIEnvironment, seconds: float) -> None:
    """Count and limit the reads of a request's body, which must arrive whole within `seconds`."""
    if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
        environ["wsgi.input"] = WatchedBody(environ, seconds)


class WatchedBody:
    """Input stream of one request.

    Attributes:
        began: when the first read began, from the monotonic clock, or 0 before the first read.
        since: when the current read began.
        is_shut: whether the watch shut its connection, or another overdue one from the same address.
    """

    __slots__ = ("_environ", "_stream", "began", "is_shut", "seconds", "since")

    def __init__(self, environ: WSGIEnvironment, seconds: float) -> None:
        self._environ = environ
        self._stream: IO[bytes] = environ["wsgi.input"]
        self.seconds = seconds
        self.began = self.since = 0.0
        self.is_shut = False

    def read(self, size: int = -1) -> bytes:
        """Read from the server's input stream.

        Raises:
            Overloaded: too many threads are reading bodies.
            BodyMalformed: the body is chunked, and the connection was shut, or ended within lines. The server does not
                report this, so the body would look complete and a part of it would be stored.
        """
        if len(_reads) >= MAX_READS:
            raise Overloaded("Too many requests are being received.")
        self.since = time.monotonic()
        self.began = self.began or self.since
        thread = threading.get_ident()
        _reads[thread] = self
        if _watch is None:
            _start()
        try:
            data = self._stream.read() if size is None or size < 0 else self._stream.read(size)
        finally:
            del _reads[thread]
        if "HTTP_TRANSFER_ENCODING" in self._environ:
            if self.is_shut:
                raise BodyMalformed("The body took too long to arrive.")
            # JSON has a definite end. Lines do not, even if each line is compressed separately.
            are_lines = "ndjson" in self._environ.get("CONTENT_TYPE", "").lower()
            if are_lines and (size is None or len(data) < size) and any(_is_left(one, self) for one in _connections()):
                raise BodyMalformed(
                    "The client ended the connection, so the body may be cut short. Nothing was stored."
                )
        return data

    def __getattr__(self, name: str) -> object:
        """Return any other attribute of the stream, such as a read method that no request handler uses."""
        return getattr(self._stream, name)

    @property
    def ends(self) -> tuple[str, str]:
        """Return the server's port and the peer's address, regardless of what a proxy reports."""
        address = self._environ.get("werkzeug.proxy_fix.orig", self._environ).get("REMOTE_ADDR", "")
        return self._environ.get("SERVER_PORT", ""), address

    @property
    def hears_first(self) -> bool:
        """Return whether the client waits for `100 Continue`, which the server sends when the first read begins."""
        return "HTTP_EXPECT" in self._environ


def shut_overdue() -> int:
    """Shut the connections whose bodies are overdue, and return their number."""
    now = time.monotonic()
    silent = CROWDED_SILENT_SECONDS if len(_reads) > MAX_READS / 2 else SILENT_SECONDS
    overdue = [body for body in list(_reads.values()) if now - body.since >= min(silent, body.seconds)]
    if not overdue:
        return 0
    number = 0
    for connection in _connections():
        found = [body for body in overdue if _is_of(connection, body, now, silent)]
        for body in found:
            body.is_shut = True  # set before the shutdown, because the shutdown ends the read
        with suppress(OSError):
            if found:
                connection.shutdown(socket.SHUT_RD)
                number += 1
    return number


def _start() -> None:
    global _watch  # the first request starts the only watch thread of the process
    with _starting:
        if _watch is None:
            _watch = threading.Thread(target=_run, name="body-watch", daemon=True)
            _watch.start()


def _run() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        shut_overdue()


def _connections() -> Iterator[socket.socket]:
    """Yield the process's sockets, each through a duplicate descriptor that is closed afterwards."""
    for descriptor in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with suppress(OSError):  # not a socket, or closed in the meantime
            if str(descriptor.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(descriptor.name))) as connection:
                    yield connection


def _is_of(connection: socket.socket, body: WatchedBody, now: float, silent: float) -> bool:
    """Return whether a connection appears to carry an overdue body; see the module docstring."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        ends = str(connection.getsockname()[1]), connection.getpeername()[0].partition("%")[0]
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    except OSError:  # not a connection, or one that has ended
        return False
    sent, received = TCP_INFO.unpack(info)
    age = 1000 * (now - body.began)
    is_receiving = body.hears_first or (received <= sent and sent >= age - CLOCK_MS)
    return ends == body.ends and is_receiving and (received >= 1000 * silent or age >= 1000 * body.seconds)


def _is_left(connection: socket.socket, body: WatchedBody) -> bool:
    """Return whether a connection appears to carry the body and its client has closed it."""
    try:
        ends = str(connection.getsockname()[1]), connection.getpeername()[0].partition("%")[0]
        return ends == body.ends and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE_WAIT
    except (OSError, IndexError):  # not a TCP connection, or one that has ended
        return False
