"""Reads of bodies: how many there may be, and which connections are shut when one is overdue."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator

import pytest

from app.exceptions import BodyMalformed, Overloaded
from app.ops import body_watch
from app.ops.body_watch import WatchedBody, watch
from tests.support.running import wait_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's connection, and the same one as the server has it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Silence is judged at once, by this test alone."""
    monkeypatch.setattr(body_watch, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(body_watch, "_start", lambda: None)
    monkeypatch.setattr(body_watch, "_reads", {})


def body_of(server: socket.socket, **environ: object) -> WatchedBody:
    given = {"wsgi.input": server.makefile("rb"), "CONTENT_LENGTH": "10"}
    given |= {"REMOTE_ADDR": "127.0.0.1", "SERVER_PORT": str(server.getsockname()[1])} | environ
    watch(given, 30)
    return given["wsgi.input"]


def read(body: WatchedBody) -> tuple[threading.Thread, list[bytes]]:
    """Start to read a body of ten bytes in a thread; what it read."""
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(body.read(10)))
    thread.start()
    wait_until(lambda: body_watch._reads, 10)
    return thread, got


def test_a_silent_body_ends_cut_short(pair, impatient):
    client, server = pair
    client.sendall(b"abc")
    thread, got = read(body_of(server))
    wait_until(lambda: body_watch.shut_overdue() or not thread.is_alive(), 10)
    thread.join(10)
    assert got == [b"abc"]
    assert body_watch._reads == {}


def test_a_silent_chunked_body_is_refused_as_it_would_look_whole(pair, impatient):
    client, server = pair
    client.sendall(b"abc")
    body = body_of(server, HTTP_TRANSFER_ENCODING="chunked")
    told: list[str] = []

    def expect_error() -> None:
        try:
            body.read(10)
        except BodyMalformed as error:
            told.append(str(error))

    thread = threading.Thread(target=expect_error)
    thread.start()
    wait_until(lambda: body_watch.shut_overdue() or not thread.is_alive(), 10)
    thread.join(10)
    assert told == ["The body took too long to arrive."]


def test_chunked_lines_whose_client_is_gone_are_refused_as_nobody_can_tell_where_they_end(pair):
    client, server = pair
    client.sendall(b"abc\n")
    client.shutdown(socket.SHUT_WR)
    given = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/x-ndjson"}
    with pytest.raises(BodyMalformed, match="may be cut short"):
        body_of(server, **given).read(10)


def test_chunked_json_says_itself_where_it_ends(pair):
    client, server = pair
    client.sendall(b"[]")
    client.shutdown(socket.SHUT_WR)
    given = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/json"}
    assert body_of(server, **given).read(10) == b"[]"


def test_chunked_lines_whose_client_waits_for_the_answer_are_read(pair):
    _, server = pair
    given = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/x-ndjson"}
    assert body_of(server, **given, **{"wsgi.input": io.BytesIO(b"abc\n")}).read(10) == b"abc\n"


def test_the_same_behind_a_proxy_that_says_whose_request_it_is(pair, impatient):
    client, server = pair
    client.sendall(b"abc")
    original = {"werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "127.0.0.1"}, "REMOTE_ADDR": "192.0.2.1"}
    thread, _ = read(body_of(server, **original))
    wait_until(lambda: body_watch.shut_overdue() or not thread.is_alive(), 10)
    thread.join(10)


@pytest.mark.parametrize(
    "case", ["an answer was sent since", "of another address", "our own to another server", "it is not overdue"]
)
def test_other_connections_stay(pair, impatient, monkeypatch, case):
    client, server = pair
    client.sendall(b"abc")
    changes = {"of another address": {"REMOTE_ADDR": "192.0.2.1"}, "our own to another server": {"SERVER_PORT": "8000"}}
    thread, got = read(body_of(server, **changes.get(case, {})))
    if case == "an answer was sent since":
        threading.Event().wait(0.05)  # the kernel's clock ticks slowly
        server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    if case == "it is not overdue":
        monkeypatch.setattr(body_watch, "SILENT_SECONDS", 60)
    threading.Event().wait(0.1)
    assert body_watch.shut_overdue() == 0
    client.sendall(b"defghij")
    thread.join(10)
    assert got == [b"abcdefghij"]


def test_only_so_many_are_read_at_the_same_time(impatient, monkeypatch):
    monkeypatch.setattr(body_watch, "MAX_READS", 1)
    given = {"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": "3"}
    watch(given, 30)
    body_watch._reads[0] = given["wsgi.input"]
    with pytest.raises(Overloaded):
        given["wsgi.input"].read(3)
    del body_watch._reads[0]
    assert given["wsgi.input"].read(3) == b"abc"
    assert body_watch._reads == {}


def test_a_request_without_a_body_is_not_watched():
    for environ in ({}, {"CONTENT_LENGTH": "0"}):
        given = {"wsgi.input": io.BytesIO()} | environ
        watch(given, 30)
        assert isinstance(given["wsgi.input"], io.BytesIO)
