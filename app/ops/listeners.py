"""The sockets that clients connect to: opened once by the launcher, which keeps them until everything has ended.

A web process that is replaced, or dies, takes no connection with it: those that nobody has accepted yet stay in the
socket's queue, for the next process. Each web process has a socket of its own on the same port (SO_REUSEPORT), so that
the kernel shares connections out evenly; of one socket, whichever process woke first would accept a whole burst.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import sys
from contextlib import suppress

FIRST_DESCRIPTOR = 64  # from here on: supervisord closes what is below its `minfds` in each program that it starts
BACKLOG = 1024  # connections that wait in a socket's queue; beyond it the kernel lets clients try again

_SO_ATTACH_FILTER = 26
_TCP_INFO_BYTES = 104
_UNACKED_OFFSET = 24  # tcpi_unacked of struct tcp_info: of a listening socket the connections in its queue
# A filter of the classic kind: load the byte of TCP's flags; where it has SYN and not ACK, drop the packet.
_DROP_SYN = [(0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]


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
    """Have the kernel ignore further clients, who try again in a second; who is connected already stays so.

    Closing a socket resets every connection in its queue. With this the queue can be emptied first. Linux only.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    kept = ctypes.create_string_buffer(code)  # until the kernel has copied it
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(kept))
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def waiting(listeners: list[socket.socket]) -> int:
    """How many connections are in the queues; elsewhere than on Linux nobody can say, so none."""
    if sys.platform != "linux":
        return 0
    infos = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES) for one in listeners]
    return sum(struct.unpack_from("I", info, _UNACKED_OFFSET)[0] for info in infos)


def close(listeners: list[socket.socket]) -> None:
    """Let clients be refused from now on, whichever processes still have the sockets open."""
    for listener in listeners:
        with suppress(OSError):  # shut already
            listener.shutdown(socket.SHUT_RD)
        listener.close()
