"""A proxy to a server that can cut connections, hang, refuse, and work again."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

BLOCK_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # close at once with RST


class Wire:
    """A proxy with a port of its own that forwards every connection to a server until told otherwise.

    Attributes:
        url: the server's address through this proxy.
        passed: number of forwarded bytes in both directions.
        is_hanging_on_somebody: whether a client sent something while it hangs.
    """

    def __init__(self, url: str) -> None:
        self._server = (urlsplit(url).hostname, urlsplit(url).port)
        self._listener = self._listen(0)
        self._port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._is_silent = False
        self._loses = 0
        self._cuts: tuple[int, int] | None = None
        self._cut_seconds = 0.0  # until a cut, which discards what the client has not read yet
        self.url = f"http://127.0.0.1:{self._port}"
        self.passed = 0
        self.is_hanging_on_somebody = False

    def refuse(self) -> None:
        """Refuse connections, and reset the existing ones."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._reset()

    def hang(self) -> None:
        """Accept connections, and forward nothing."""
        self._is_silent = True

    def cut_after(self, count: int, times: int = 1_000_000, *, after_seconds: float = 0) -> None:
        """Reset the connection after this many further bytes, and again for what follows this often."""
        self._cuts = self.passed + count, times
        self._cut_seconds = after_seconds

    def lose_answers(self, times: int = 1_000_000) -> None:
        """Forward requests, but reset the connection instead of forwarding the response."""
        self._loses = times

    def restore(self) -> None:
        """Work again. Connections that hung are reset."""
        self._is_silent, self._loses, self._cuts = False, 0, None
        self.is_hanging_on_somebody = False
        self._reset()
        with contextlib.suppress(OSError):  # it still listens
            self._listener = self._listen(self._port)

    def close(self) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self.refuse()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open |= {client, server}
            for one, other, is_out in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(one, other, is_out), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, is_out: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(BLOCK_BYTES):
                self.passed += len(data)
                if self._is_cut() or (not is_out and self._is_lost()):
                    break
                if self._is_silent:
                    self.is_hanging_on_somebody = True
                else:
                    other.sendall(data)
            else:  # it has ended well, and a reset would discard what the other end has not read yet
                other.shutdown(socket.SHUT_WR)
                self._open.discard(one)
                return
        for end in (one, other):
            _close(end)
            self._open.discard(end)

    def _is_cut(self) -> bool:
        if self._cuts is None or self.passed < self._cuts[0]:
            return False
        place, times = self._cuts
        self._cuts = (place, times - 1) if times > 1 else None
        time.sleep(self._cut_seconds)
        return True

    def _is_lost(self) -> bool:
        self._loses -= 1
        return self._loses >= 0

    def _reset(self) -> None:
        for end in list(self._open):
            _close(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RDWR)
    end.close()
