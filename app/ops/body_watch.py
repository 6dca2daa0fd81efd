"""Bounds what clients can hold by sending a request's body slowly, or not at all.

A read of a body blocks its thread until the bytes are there or the connection has ended, and nothing in Python can
interrupt it: granian does not even answer a request while one of its reads is under way. So two bounds are kept here.
Only so many threads may read bodies at a time; the rest is left to requests without one, such as a probe. And a thread
of its own shuts the receiving side of connections that are silent for too long, which ends their reads.

The server does not say by which connection a request came. Linux says of each socket of the process how long ago it
sent and received something. A connection is shut only if it came from the address of an overdue read to the server's
port, received something after it last sent, and has sent nothing since that body began. Without /proc only the first
bound holds.
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

MAX_READS = 448  # of the 512 threads that deploy/supervisord.conf gives a web process
SILENT_SECONDS = 10.0
CROWDED_SILENT_SECONDS = 2.0  # once half of the reads are taken
LOOK_SECONDS = 0.5
CLOCK_MS = 10  # the kernel's clock of these times ticks as slowly
TCP_INFO = struct.Struct("=44xI4xI")  # milliseconds since data was last sent, and last received
CLOSE_WAIT = 8  # the state, in its first byte, of a connection that the other end has ended
DESCRIPTORS = Path("/proc/self/fd")

_reads: dict[int, WatchedBody] = {}  # by thread
_starting = threading.Lock()
_watch: threading.Thread | None = None


def watch(environ: WSGIEnvironment, seconds: float) -> None:
    """Have the reads of a request's body counted and bounded; `seconds` is what the whole body may take."""
    if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
        environ["wsgi.input"] = WatchedBody(environ, seconds)


class WatchedBody:
    """The input of one request.

    Attributes:
        began: when its first read began, by the monotonic clock; 0: none did.
        since: the same of the read that is under way.
        is_shut: whether its connection was shut: it, or another overdue one from the same address.
    """

    __slots__ = ("_environ", "_stream", "began", "is_shut", "seconds", "since")

    def __init__(self, environ: WSGIEnvironment, seconds: float) -> None:
        self._environ = environ
        self._stream: IO[bytes] = environ["wsgi.input"]
        self.seconds = seconds
        self.began = self.since = 0.0
        self.is_shut = False

    def read(self, size: int = -1) -> bytes:
        """Read as the server's input does.

        Raises:
            Overloaded: too many threads read bodies.
            BodyMalformed: it is chunked, and its connection was shut, or ended within lines. The server does not say
                so: the body would look whole, and part of it would be stored.
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
            self._check_end(is_over=size is None or len(data) < size)
        return data

    def __getattr__(self, name: str) -> object:
        """Other ways to read, which nobody uses on a client's time."""
        return getattr(self._stream, name)

    def _check_end(self, *, is_over: bool) -> None:
        if self.is_shut:
            raise BodyMalformed("The body took too long to arrive.")
        # JSON says itself where it ends; lines do not, nor do they where each is compressed by itself.
        are_lines = "ndjson" in self._environ.get("CONTENT_TYPE", "").lower()
        if is_over and are_lines and any(_is_left(one, self) for one in _connections()):
            raise BodyMalformed("The client ended the connection, so the body may be cut short. Nothing was stored.")

    @property
    def ends(self) -> tuple[str, str]:
        """The port that the connection came to, and the address that it came from, whatever a proxy says of it."""
        address = self._environ.get("werkzeug.proxy_fix.orig", self._environ).get("REMOTE_ADDR", "")
        return self._environ.get("SERVER_PORT", ""), address

    @property
    def hears_first(self) -> bool:
        """Whether the client waits for an interim answer, which is sent when the body's first read begins."""
        return "HTTP_EXPECT" in self._environ


def shut_overdue() -> int:
    """Shut the connections whose bodies are overdue, and return how many they were."""
    now = time.monotonic()
    silent = CROWDED_SILENT_SECONDS if len(_reads) > MAX_READS / 2 else SILENT_SECONDS
    overdue = [body for body in list(_reads.values()) if now - body.since >= min(silent, body.seconds)]
    if not overdue:
        return 0
    number = 0
    for connection in _connections():
        found = [body for body in overdue if _is_of(connection, body, now, silent)]
        for body in found:
            body.is_shut = True  # first, as its read ends with the connection
        number += bool(found) and _shut(connection)
    return number


def _start() -> None:
    global _watch  # one for the process, whichever request comes first
    with _starting:
        if _watch is None:
            _watch = threading.Thread(target=_run, name="body-watch", daemon=True)
            _watch.start()


def _run() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        shut_overdue()


def _connections() -> Iterator[socket.socket]:
    """The process's TCP connections, each by a descriptor of its own that is closed afterwards."""
    for descriptor in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with suppress(OSError):  # no socket, or closed meanwhile
            if str(descriptor.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(descriptor.name))) as connection:
                    yield connection


def _is_of(connection: socket.socket, body: WatchedBody, now: float, silent: float) -> bool:
    """Whether a connection looks like the one that an overdue body comes by; see the module."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        ends = str(connection.getsockname()[1]), connection.getpeername()[0].partition("%")[0]
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    except OSError:  # it is no connection, or it has ended
        return False
    sent, received = TCP_INFO.unpack(info)
    age = 1000 * (now - body.began)
    is_receiving = body.hears_first or (received <= sent and sent >= age - CLOCK_MS)
    return ends == body.ends and is_receiving and (received >= 1000 * silent or age >= 1000 * body.seconds)


def _is_left(connection: socket.socket, body: WatchedBody) -> bool:
    """Whether a connection looks like a body's, and its client has ended it."""
    try:
        ends = str(connection.getsockname()[1]), connection.getpeername()[0].partition("%")[0]
        return ends == body.ends and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE_WAIT
    except (OSError, IndexError):  # it is no connection over TCP, or it is gone
        return False


def _shut(connection: socket.socket) -> bool:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
        return True
    return False
