"""Behaviour that needs a real connection: chunked, truncated and slow bodies, and early responses."""

from __future__ import annotations

import gzip
import json
import socket
import time

import pytest

from tests.api.conftest import BODY_SECONDS
from tests.support.client import event
from tests.support.pace import slack
from tests.support.web import Answer, chunk

LINES = "application/x-ndjson"
MIB = 1024 * 1024
LIMIT = 10 * MIB  # the default
SILENT = 20  # connections that stop sending
BATCH = json.dumps([event()]).encode()
LINE = json.dumps(event()).encode() + b"\n"


def code(answer: Answer) -> str:
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.body)[0]["value"]["code"]


@pytest.fixture
def counted(served):
    """Return a function that counts the events stored since the start of the test."""
    before = served.count_events()
    return lambda: served.count_events() - before


class TestChunks:
    def test_a_chunked_batch_is_accepted(self, served, counted):
        answer = served.post_chunks("/events", chunks=[BATCH[at : at + 7] for at in range(0, len(BATCH), 7)])
        assert (answer.status, len(json.loads(answer.body))) == (200, 1)
        assert counted() == 1

    def test_a_chunked_compressed_batch_is_accepted(self, served, counted):
        packed = gzip.compress(BATCH)
        answer = served.post_chunks("/events", "Content-Encoding: gzip", chunks=[packed[:9], packed[9:]])
        assert answer.status == 200
        assert counted() == 1

    def test_a_body_of_the_maximum_size_is_accepted(self, served):
        spaces = b" " * (LIMIT - len(BATCH))
        assert served.post_chunks("/events", chunks=[BATCH[:-1], spaces, BATCH[-1:]]).status == 200

    def test_one_byte_more_is_too_large_and_never_truncated(self, served, counted):
        spaces = b" " * (LIMIT - len(BATCH) + 1)
        answer = served.post_chunks("/events", chunks=[BATCH, spaces])
        assert (answer.status, code(answer)) == (413, "REQUEST_TOO_LARGE")
        assert counted() == 0

    def test_lines_beyond_the_limit_are_too_large_and_never_truncated(self, served, counted):
        lines = LINE * (LIMIT // len(LINE) + 1)
        answer = served.post_chunks("/events", chunks=[lines], media_type=LINES)
        assert (answer.status, code(answer)) == (413, "REQUEST_TOO_LARGE")
        assert counted() == 0

    def test_a_decompression_bomb_uses_little_memory(self, served, counted):
        bomb = gzip.compress(b"[" + b" " * (300 * MIB))
        before = served.peak_memory()
        answer = served.post_chunks("/events", "Content-Encoding: gzip", chunks=[bomb])
        assert (answer.status, code(answer)) == (413, "REQUEST_TOO_LARGE")
        assert served.peak_memory() - before < 60
        assert counted() == 0


class TestEarlyResponses:
    """The client must be able to read a response that arrives while it is still sending."""

    def test_a_length_beyond_the_limit(self, served):
        answer = served.post("/events", body=b" " * 20_000_000)
        assert (answer.status, code(answer)) == (413, "REQUEST_TOO_LARGE")

    def test_chunks_beyond_the_limit(self, served):
        answer = served.post_chunks("/events", chunks=[b" " * 1_000_000] * 20)
        assert (answer.status, code(answer)) == (413, "REQUEST_TOO_LARGE")

    @pytest.mark.parametrize(
        ("path", "header", "status"),
        [
            ("/events", "Content-Encoding: br", 415),
            ("/events", "Content-Encoding: gzip", 400),
            ("/events", "Content-Encoding: zstd", 400),
            ("/reports", "Authorization: Basic bm9ib2R5Om9uZQ==", 401),
            ("/nothing", "X-Any: thing", 404),
            ("/system/version", "X-Any: thing", 405),
        ],
    )
    def test_other_errors(self, served, path, header, status):
        answer = served.post(path, header, body=b"x" * 8_000_000)
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/json"

    def test_the_connection_stays_usable(self, served):
        with served.connect() as connection:
            connection.post("/nothing", "Content-Length: 3000000", body=b"x" * 3_000_000)
            assert connection.answer().status == 404
            connection.post("/events", f"Content-Length: {len(BATCH)}", body=BATCH)
            assert connection.answer().status == 200


class TestExpectations:
    def test_a_client_that_expects_100_continue_gets_it(self, served):
        with served.connect() as connection:
            connection.post("/events", f"Content-Length: {len(BATCH)}", "Expect: 100-continue")
            assert connection.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(BATCH)
            assert connection.answer().status == 200

    def test_a_client_that_announces_too_large_a_body_is_rejected_before_it_sends(self, served):
        with served.connect() as connection:
            connection.post("/events", f"Content-Length: {LIMIT + 1}", "Expect: 100-continue")
            began = time.monotonic()
            answer = connection.answer()
            assert (answer.status, code(answer)) == (413, "REQUEST_TOO_LARGE")
            assert time.monotonic() - began < slack(1)


class TestTruncatedBodies:
    def test_a_body_shorter_than_announced_stores_nothing(self, served, counted):
        with served.connect() as connection:
            connection.post("/events", f"Content-Length: {len(BATCH) + 10}", body=BATCH)
            connection.socket.shutdown(socket.SHUT_WR)
            answer = connection.answer()
            assert (answer.status, code(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert counted() == 0

    def test_a_client_that_disconnects_stores_nothing(self, served, counted):
        with served.connect() as connection:
            connection.post("/events", f"Content-Length: {len(LINE) * 3}", body=LINE * 2, media_type=LINES)
        time.sleep(0.3)
        assert counted() == 0

    @pytest.mark.parametrize("sent", [chunk(BATCH[:-1]), chunk(BATCH)[:-10]])
    def test_a_chunked_body_truncated_inside_its_json_stores_nothing(self, served, counted, sent):
        with served.connect() as connection:
            connection.post("/events", "Transfer-Encoding: chunked", body=sent)
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.answer().status == 400
        assert counted() == 0

    def test_chunked_lines_truncated_between_two_lines_store_nothing(self, served, counted):
        with served.connect() as connection:
            connection.post("/events", "Transfer-Encoding: chunked", body=chunk(LINE), media_type=LINES)
            connection.socket.shutdown(socket.SHUT_WR)
            connection.answer()
        assert counted() == 0


class TestSlowBodies:
    def test_silent_clients_do_not_block_a_normal_request(self, served, counted):
        silent = [served.connect() for _ in range(SILENT)]
        for connection in silent:
            connection.post("/events", "Content-Length: 500", body=b"[")
        for path in ("/events", "/nothing"):
            began = time.monotonic()
            assert served.post(path, body=BATCH).status in (200, 404)
            assert time.monotonic() - began < slack(1)
        for connection in silent:
            connection.socket.close()
        assert counted() == 1

    @pytest.mark.parametrize("header", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
    def test_a_body_that_arrives_too_slowly_is_rejected(self, served, counted, header):
        with served.connect() as connection:
            connection.post("/events", header)
            began = time.monotonic()
            while not connection.has_answer() and time.monotonic() - began < BODY_SECONDS + 2:
                connection.send(chunk(b" " * 30_000))
                time.sleep(0.1)
            answer = connection.answer()
        assert (answer.status, code(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert json.loads(answer.body)[0]["value"]["message"] == "The body took too long to arrive."
        assert counted() == 0
