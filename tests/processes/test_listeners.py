"""The sockets that clients connect to can be emptied before they are closed, so that nobody in their queue is reset."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from app.ops import listeners
from tests.support.running import free_port, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked for what only Linux has")


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened = listeners.open_listeners("127.0.0.1", free_port(), 2)
    yield opened
    for one in opened:
        one.close()


def connect(sockets: list[socket.socket], number: int) -> list[socket.socket]:
    return [socket.create_connection(sockets[0].getsockname(), timeout=5) for _ in range(number)]


def test_several_sockets_share_a_port(sockets):
    assert sockets[0].getsockname() == sockets[1].getsockname()


def test_who_waits_in_a_queue_is_counted_and_served_when_nobody_new_gets_in(sockets):
    assert listeners.waiting(sockets) == 0
    clients = connect(sockets, 20)
    wait_until(lambda: listeners.waiting(sockets) == 20, 5)
    listeners.refuse_new(sockets)
    for _ in range(20):
        with pytest.raises(ConnectionRefusedError):
            connect(sockets, 1)
    for client in clients:
        client.sendall(b"?")
    served = [accept(sockets) for _ in clients]
    assert [one.recv(1) for one in served] == [b"?"] * 20
    assert listeners.waiting(sockets) == 0


def accept(sockets: list[socket.socket]) -> socket.socket:
    for listener in sockets:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        connection.setblocking(True)
        return connection
    raise AssertionError("nobody waits")
