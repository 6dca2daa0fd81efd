"""The sockets that clients connect to: opened once by the launcher, which keeps them until everything has ended.

A web process that is replaced, or dies, takes no connection with it: those that nobody has accepted yet stay in the
socket's queue, for the next process. Each web process has a socket of its own on the same port (SO_REUSEPORT), so that
the kernel shares connections out evenly; of one socket, whichever process woke first would accept a whole burst.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from contextlib import suppress

FIRST_DESCRIPTOR = 64  # from here on: supervisord closes what is below its `minfds` in each program that it starts
BACKLOG = 1024  # connections that wait in a socket's queue; beyond it the kernel lets clients try again

_SO_BINDTOIFINDEX = 62
_NO_INTERFACE = 2**31 - 1  # the index of none
_TCP_INFO_BYTES = 104
_UNACKED_OFFSET = 24  # tcpi_unacked of struct tcp_info: of a listening socket the connections in its queue


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Open so many sockets that listen on one port, which a program may inherit.

    Raises:
        OSError: the address cannot be listened on.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return [_open(family, kind, address) for _ in range(count)]


def _open(family: int, kind: int, address: tuple) -> socket.socket:
    with socket.socket(family, kind) as low:
        low.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        low.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        low.bind(address)
        low.listen(BACKLOG)
        low.setblocking(False)
        listener = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD, FIRST_DESCRIPTOR))
    listener.set_inheritable(True)
    return listener


def refuse_new(listeners: list[socket.socket]) -> None:
    """Have the kernel refuse further clients; who is connected already, accepted or not, stays so.

    Closing a socket resets every connection in its queue, and those come as long as it listens. So it is bound to an
    interface that is none: clients are told at once that nobody listens, and the queue can be emptied. A socket filter
    would need rights. Where the kernel does not know this (before Linux 5.7), a client that comes just as the socket is
    closed is reset.
    """
    for listener in listeners:
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)


def waiting(listeners: list[socket.socket]) -> int:
    """How many connections are in the queues; elsewhere than on Linux nobody can say, so none."""
    if sys.platform != "linux":
        return 0
    infos = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES) for one in listeners]
    return sum(struct.unpack_from("I", info, _UNACKED_OFFSET)[0] for info in infos)
