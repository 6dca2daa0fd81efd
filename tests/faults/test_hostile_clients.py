"""Slow, greedy and dishonest clients do not keep honest ones from being served."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Service
from tests.faults.ledger import Ledger, Load
from tests.support.client import event
from tests.support.pace import SOAK, slack, times
from tests.support.running import wait_until

pytestmark = pytest.mark.processes

MIB = 1024 * 1024
ENOUGH = 400  # batches of clients that send as fast as they can
BODY = json.dumps([event()]).encode()
HEAD = b"POST /events HTTP/1.1\r\nHost: tally.test\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def slow_clients(port: int, number: int):
    """Run this many clients that send a header a byte a second, and as many that send a body so."""
    starts = [HEAD[:30], HEAD + b"Content-Length: 10000\r\n\r\n["] * number
    stop = threading.Event()
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in starts]
        for one, start in zip(sockets, starts, strict=True):
            one.sendall(start)

        def drip() -> None:
            while not stop.wait(1):
                for one in sockets:
                    with contextlib.suppress(OSError):
                        one.sendall(b" ")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def post(port: int, body: bytes, **headers: str) -> tuple[int, float]:
    """Return the status and the duration of an honest request."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/events", body, {"Content-Type": "application/json"} | headers)
    status = connection.getresponse().status
    connection.close()
    return status, time.monotonic() - began


def speak(port: int, data: bytes) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.fixture(scope="module")
def service(start_shared) -> Service:
    """A running service for all of these tests."""
    return start_shared("sqlite", INGEST_WAIT_SECONDS="2", idle=["worker", "scheduler"])


@pytest.fixture(scope="module")
def web(service) -> int:
    """The port of the service."""
    return service.running.port


def test_a_gzip_bomb_ends_in_413_and_takes_little_memory(service, web):
    """Runs first, because memory that other tests made the service use would hide the growth."""
    post(web, BODY)
    pid = service.running.pid("web-process")
    before = memory(pid)
    bomb = gzip.compress(bytes(10 * 1024 * 1024), 9) * 1000  # ten gigabytes, as members of one stream
    status, seconds = post(web, bomb, **{"Content-Encoding": "gzip"})
    assert status == 413
    assert seconds < slack(10)
    assert memory(pid) - before < 50


def memory(pid: int) -> float:
    """Return the peak resident memory of a process in MiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("number", [pytest.param(40, marks=pytest.mark.soak), 400])
def test_an_honest_client_is_served_beside_slow_ones(web, number):
    with slow_clients(web, number):
        time.sleep(1)
        answers = [post(web, BODY) for _ in range(30)]
    assert {status for status, _ in answers} == {200}
    # generous for busy machines; bench/slow.py measures, and too few threads would take 30 s
    assert max(seconds for _, seconds in answers) < slack(10)


def test_clients_that_announce_a_body_and_send_none_block_nobody(web):
    """There are more of them than threads. Each is disconnected at its deadline."""
    with contextlib.ExitStack() as opened:
        for _ in range(540):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", web)))
            one.sendall(HEAD + b"Content-Length: 10000\r\n\r\n")
        for path in ("/health/live", "/system/version", "/admin/sign-in"):
            assert get(web, path) == 200
        assert post(web, BODY)[0] in (200, 503)
        wait_until(lambda: post(web, BODY)[0] == 200, 30)
        one.settimeout(30)
        assert one.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 503"))


def get(port: int, path: str) -> int:
    """Return the status of an honest request without a body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def test_very_large_batches_at_the_same_time_are_stored_or_asked_to_retry(service, web):
    """Each takes a hundred megabytes while its events are parsed, so two are admitted at a time."""
    one = json.dumps(event(), separators=(",", ":")).encode()
    body = b"[" + b",".join([one] * (10 * MIB // (len(one) + 1) - 1)) + b"]"
    with ThreadPoolExecutor(64) as pool:
        statuses = Counter(pool.map(lambda _: post(web, body)[0], range(times(4, 64))))
    assert statuses.keys() <= {200, 503}
    assert statuses[200]
    assert memory(service.running.pid("web-process")) < 600


CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"0\r\n\r\nGET /system/version HTTP/1.1\r\nHost: tally.test\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
    ],
)
def test_a_request_whose_end_is_ambiguous_is_refused(web, headers):
    answer = speak(web, HEAD + headers + b"\r\n" + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_length_beside_chunks_smuggles_nothing(web):
    answer = speak(web, HEAD + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n" + b"0\r\n\r\nG")
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("size", [b"zz", b"-1", b"ffffffffffffffffff", b""])
def test_a_chunk_of_no_size_is_refused(web, size):
    answer = speak(web, HEAD + CHUNKED + b"\r\n" + size + b"\r\n[]\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""


def test_overload_is_answered_and_the_ledger_balances(service):
    """Three times as many clients as there are threads send as fast as they can."""
    ledger: Ledger = service.for_another_test().ledger
    with contextlib.ExitStack() as loads:
        for _ in range(times(8, 24)):
            loads.enter_context(Load(service.running.port, ledger, pause=0))
        if SOAK:
            time.sleep(30)
        wait_until(lambda: len(ledger.batches) > ENOUGH, 30)
    statuses = Counter(batch.status for batch in ledger.batches)
    assert statuses.keys() <= {200, 429, 503}, statuses
    ledger.balance(service.ids()).check()
