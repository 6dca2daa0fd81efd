"""Clients that request a file and do not read it occupy some threads, but never those that accept events."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest

from app.api.files import MAX_DOWNLOADS
from tests.flows.conftest import Visitor, large_report
from tests.support.client import event
from tests.support.pace import slack
from tests.support.running import wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes are ended by what Linux offers"),
]


def begin(port: int, path: str) -> tuple[socket.socket, int]:
    """Request a file, and read only the status of the response."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client, int(client.recv(12)[9:])


def test_slow_downloads_keep_no_event_waiting_and_free_their_slots_when_they_end(shared_service):
    visitor = Visitor(shared_service)
    job, content = large_report(visitor, 2000)  # 8 MB, more than the system buffers for a client that does not read
    link = urlsplit(visitor.link(job))
    with contextlib.ExitStack() as stack:
        asked = [begin(visitor.service.port, f"{link.path}?{link.query}") for _ in range(MAX_DOWNLOADS + 12)]
        for client, _ in asked:
            stack.callback(client.close)
        assert Counter(status for _, status in asked) == {200: MAX_DOWNLOADS, 429: 12}
        began = time.monotonic()
        for _ in range(20):
            assert visitor.post("/events", json=[event()]).status_code == 200
        assert time.monotonic() - began < slack(10)
        assert visitor.get(visitor.link(job)).status_code == 429
    wait_until(lambda: visitor.get(visitor.link(job)).content == content, 20)
