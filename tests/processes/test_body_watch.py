"""The watch of request bodies: the limit of concurrent reads, and shutting down overdue connections."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from app.exceptions import BodyMalformed, Overloaded
from app.ops import body_watch
from app.ops.body_watch import WatchedBody, watch
from tests.support.running import wait_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return a client's connection and the server's end of it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Consider a silent connection overdue immediately."""
    monkeypatch.setattr(body_watch, "SILENT_SECONDS", 0.05)


def watch_body(server: socket.socket, **environ: object) -> WatchedBody:
    request = {"wsgi.input": server.makefile("rb"), "CONTENT_LENGTH": "10"}
    request |= {"REMOTE_ADDR": "127.0.0.1", "SERVER_PORT": str(server.getsockname()[1])} | environ
    watch(request, 30)
    return request["wsgi.input"]


def start_reading(body: WatchedBody) -> tuple[threading.Thread, list[bytes]]:
    """Start to read a body of ten bytes in a thread, and return the thread and its result."""
    result: list[bytes] = []
    thread = threading.Thread(target=lambda: result.append(body.read(10)))
    thread.start()
    wait_until(lambda: body.since, 10)
    return thread, result


def test_a_silent_body_ends_truncated(pair, impatient):
    client, server = pair
    client.sendall(b"abc")
    thread, result = start_reading(watch_body(server))
    wait_until(lambda: body_watch.shut_overdue() or not thread.is_alive(), 10)
    thread.join(10)
    assert result == [b"abc"]


def test_a_silent_chunked_body_is_rejected_because_it_would_look_complete(pair, impatient):
    client, server = pair
    client.sendall(b"abc")
    body = watch_body(server, HTTP_TRANSFER_ENCODING="chunked")
    messages: list[str] = []

    def expect_error() -> None:
        try:
            body.read(10)
        except BodyMalformed as error:
            messages.append(str(error))

    thread = threading.Thread(target=expect_error)
    thread.start()
    wait_until(lambda: body_watch.shut_overdue() or not thread.is_alive(), 10)
    thread.join(10)
    assert messages == ["The body took too long to arrive."]


def test_chunked_lines_of_a_disconnected_client_are_rejected_because_their_end_is_unknown(pair):
    client, server = pair
    client.sendall(b"abc\n")
    client.shutdown(socket.SHUT_WR)
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/x-ndjson"}
    with pytest.raises(BodyMalformed, match="may be cut short"):
        watch_body(server, **headers).read(10)


def test_chunked_json_of_a_disconnected_client_is_read_because_its_end_is_known(pair):
    client, server = pair
    client.sendall(b"[]")
    client.shutdown(socket.SHUT_WR)
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/json"}
    assert watch_body(server, **headers).read(10) == b"[]"


def test_chunked_lines_of_a_client_that_waits_for_the_response_are_read(pair):
    _, server = pair
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/x-ndjson"}
    assert watch_body(server, **headers, **{"wsgi.input": io.BytesIO(b"abc\n")}).read(10) == b"abc\n"


def test_the_connection_is_found_behind_a_proxy_that_forwards_the_client_address(pair, impatient):
    client, server = pair
    client.sendall(b"abc")
    original = {"werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "127.0.0.1"}, "REMOTE_ADDR": "192.0.2.1"}
    thread, _ = start_reading(watch_body(server, **original))
    wait_until(lambda: body_watch.shut_overdue() or not thread.is_alive(), 10)
    thread.join(10)


@pytest.mark.parametrize(
    "case", ["a response was sent since", "from another address", "from another server port", "it is not overdue"]
)
def test_other_connections_stay_open(pair, impatient, monkeypatch, case):
    client, server = pair
    client.sendall(b"abc")
    changes = {
        "from another address": {"REMOTE_ADDR": "192.0.2.1"},
        "from another server port": {"SERVER_PORT": "8000"},
    }
    thread, result = start_reading(watch_body(server, **changes.get(case, {})))
    if case == "a response was sent since":
        threading.Event().wait(0.05)  # the kernel's clock has a coarse resolution
        server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    if case == "it is not overdue":
        monkeypatch.setattr(body_watch, "SILENT_SECONDS", 60)
    threading.Event().wait(0.1)
    assert body_watch.shut_overdue() == 0
    client.sendall(b"defghij")
    thread.join(10)
    assert result == [b"abcdefghij"]


def test_concurrent_reads_are_limited(pair, monkeypatch):
    monkeypatch.setattr(body_watch, "MAX_READS", 1)
    client, server = pair
    thread, _ = start_reading(watch_body(server))
    request = {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "3"}
    watch(request, 30)

    def is_refused() -> bool:
        with suppress(Overloaded):
            return request["wsgi.input"].read(3) != b""
        return True

    wait_until(is_refused, 10)
    client.sendall(b"abcdefghij")
    thread.join(10)
    assert not is_refused()


def test_a_request_without_a_body_is_not_watched():
    for environ in ({}, {"CONTENT_LENGTH": "0"}):
        request = {"wsgi.input": io.BytesIO()} | environ
        watch(request, 30)
        assert isinstance(request["wsgi.input"], io.BytesIO)
