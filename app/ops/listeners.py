"""Listening sockets that the launcher opens once and holds until every process has ended.

No connection is lost when a web process is replaced or dies, because connections that are not yet accepted stay in the
socket's queue for the next process. Each web process has its own socket on the same port (SO_REUSEPORT), so that the
kernel distributes connections evenly. With a shared socket, the first process to wake would accept a whole burst.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

BACKLOG = 1024  # maximum connections in a socket's queue; beyond that the kernel makes clients retry

_SO_BINDTOIFINDEX = 62
_NO_INTERFACE = 2**31 - 1  # an index that no interface has
_TCP_INFO_BYTES = 104
_UNACKED_OFFSET = 24  # tcpi_unacked in struct tcp_info; for a listening socket, the length of its queue


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Open `count` sockets that listen on one port.

    Raises:
        OSError: the sockets cannot listen on the address.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listeners = [socket.socket(family, kind) for _ in range(count)]
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    return listeners


def refuse_new(listeners: Sequence[socket.socket]) -> None:
    """Make the kernel refuse new clients without dropping existing connections, accepted or not.

    Closing a socket resets every connection in its queue, and new ones arrive as long as the socket listens. This
    function therefore binds the socket to an interface that does not exist. Clients are refused at once, and the web
    processes can empty the queue. A socket filter would need privileges. Before Linux 5.7, unprivileged processes
    cannot bind to an interface, so a client that connects just before the socket closes is reset.
    """
    for listener in listeners:
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)


def waiting(listeners: Sequence[socket.socket]) -> int:
    """Return how many connections are in the queues, or 0 on systems other than Linux, which do not report it."""
    if sys.platform != "linux":
        return 0
    infos = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES) for one in listeners]
    return sum(struct.unpack_from("I", info, _UNACKED_OFFSET)[0] for info in infos)
