"""Batches, retries and verdicts of the service."""

from __future__ import annotations

import json
import threading
import time
from email.message import Message

import pytest
from tally_client import ClientClosed, QueueFull
from tally_client.transport import Response

from tests.clients.receiver import Answer, error
from tests.support.pace import slack
from tests.support.running import wait_until

MIN_QUEUE = 4 * 1024 * 1024
LARGE = ["x" * 4096] * 100  # a context of 400 KiB


def record(tally, *numbers: int, customer: str = "C", context: list[str] = []) -> None:  # noqa: B006
    for number in numbers:
        tally.record(customer, "P", "T", number, *context)


def test_events_are_batched_by_number_and_a_key_is_used_once(service, connect):
    tally = connect(key="k-1", batch_events=10, batch_seconds=60)
    record(tally, *range(25))
    assert tally.flush(slack(10))
    assert [len(request.events) for request in service.requests] == [10, 10, 5]
    assert len(service.stored) == 3
    assert service.contexts() == list(range(25))
    assert {request.headers["Authorization"] for request in service.requests} == {"Bearer k-1"}
    assert tally.stats[:5] == (25, 25, 0, 0, 0)


def test_a_batch_is_limited_in_bytes(service, connect):
    tally = connect(batch_bytes=10_000, batch_seconds=60)
    for number in range(9):
        tally.record("C", "P", "T", number, "x" * 4000)
    assert tally.flush(slack(10))
    assert [len(request.events) for request in service.requests] == [2, 2, 2, 2, 1]


def test_an_event_is_sent_after_batch_seconds_without_a_flush(service, connect):
    tally = connect(batch_seconds=0.05)
    record(tally, 1, 2)
    wait_until(lambda: service.contexts() == [1, 2], 10)
    assert len(service.requests) == 1


def test_a_failed_request_is_repeated_with_the_same_key_and_body(service, connect):
    tally = connect()
    service.answers(Answer(None), Answer(500, b"oops"), error(503, "REQUEST_GENERAL_FAILURE"), Answer(200, b"<html>"))
    record(tally, 1, 2)
    wait_until(lambda: service.stored, 10)
    assert len({(request.key, tuple(request.contexts)) for request in service.requests}) == 1
    assert len(service.requests) == 5
    wait_until(lambda: tally.stats.failures == 0, 10)
    assert tally.stats.last_error == "HTTP 200"


def test_a_broken_answer_does_not_end_the_thread(service, connect):
    tally = connect()
    service.answers(Answer(200, b"[{]", {"X-Rejected-Events": "1"}), Answer(200, b"[7]", {"X-Rejected-Events": "1"}))
    record(tally, 1)
    wait_until(lambda: service.contexts() == [1], 10)
    assert tally.stats.last_error.startswith("TypeError")


def test_a_pause_that_the_service_asks_for_is_kept_even_by_a_flush(service, connect):
    tally = connect()
    service.answers(error(429, "REQUEST_RATE_LIMITED", Retry_After="1"))
    record(tally, 1)
    assert tally.flush(slack(10))
    first, second = service.requests
    assert second.at - first.at >= 0.99
    assert tally.stats.last_error == "HTTP 429: Because."


@pytest.mark.parametrize("status", [401, 404, 405])
def test_what_a_person_can_repair_keeps_the_events(service, connect, status):
    """A wrong key, or a wrong address, says nothing about the events."""
    tally = connect()
    service.answers(*[Answer(status, b'{"message": "Unauthorized"}')] * 3)
    record(tally, 1)
    wait_until(lambda: service.contexts() == [1], 10)
    assert tally.stats.rejected == 0


@pytest.mark.parametrize("status", [400, 413, 415])
def test_what_is_never_accepted_is_rejected_and_the_next_batch_is_sent(service, connect, status):
    refused = []
    tally = connect(rejected=lambda events, reason: refused.append((events, reason)), batch_events=1)
    service.script = lambda request: error(status, "REQUEST_INPUT_MALFORMED") if request.contexts == [1] else None
    record(tally, 1, 2)
    assert tally.flush(slack(10))
    [(events, reason)] = refused
    assert [event["context"] for event in events] == [[1]]
    assert reason == f"HTTP {status}: Because."
    assert service.contexts() == [2]
    assert tally.stats[:5] == (2, 1, 1, 0, 0)


def test_of_a_batch_with_invalid_events_the_valid_ones_are_stored(service, connect, tmp_path):
    tally = connect(rejected=tmp_path / "rejected.jsonl")
    body = json.dumps([{"sequence": 1}, {"sequence": 3}]).encode()
    service.answers(Answer(200, body, {"X-Rejected-Events": "1"}))
    record(tally, 1, 2, 3)
    assert tally.flush(slack(10))
    assert service.requests[0].headers["Prefer"] == "handling=lenient"
    [line] = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["event"]["context"] == [2]
    assert tally.stats[:3] == (3, 2, 1)


def test_a_batch_that_is_too_large_is_divided(service, connect):
    tally = connect(batch_events=100, batch_seconds=60)
    service.script = lambda request: Answer(413, b"<html>") if len(request.events) > 30 else None
    record(tally, *range(100))
    assert tally.flush(slack(10))
    assert service.contexts() == list(range(100))
    assert tally.stats.rejected == 0


def test_an_event_for_which_a_batch_is_refused_does_not_keep_the_others(service, connect):
    refused = []
    tally = connect(batch_seconds=60, rejected=lambda events, reason: refused.extend(events))
    service.script = lambda request: error(400, "REQUEST_INPUT_MALFORMED") if 7 in request.contexts else None
    record(tally, *range(20))
    assert tally.flush(slack(10))
    assert service.contexts() == [number for number in range(20) if number != 7]
    assert [event["context"] for event in refused] == [[7]]
    assert tally.stats[:3] == (20, 19, 1)


def test_events_outside_the_scope_of_the_key_do_not_keep_the_others(service, connect):
    tally = connect(batch_seconds=60, rejected=lambda events, reason: None)

    def permits(request):
        allowed = all(event["customer"] == "C" for event in request.events)
        return None if allowed else error(403, "REQUEST_AUTHORIZATION_FAILURE")

    service.script = permits
    record(tally, 1, 2)
    record(tally, 3, customer="D")
    record(tally, 4)
    assert tally.flush(slack(10))
    assert service.contexts() == [1, 2, 4]
    assert tally.stats[:3] == (4, 3, 1)


def test_a_function_for_rejected_events_that_fails_stops_nothing(service, connect):
    def fail(events, reason):
        raise ValueError

    tally = connect(rejected=fail, batch_events=1)
    service.answers(error(400, "REQUEST_INPUT_MALFORMED"))
    record(tally, 1, 2)
    assert tally.flush(slack(10))
    assert service.contexts() == [2]


def unavailable(request):
    return Answer(502, b"")


@pytest.mark.parametrize("spool", [False, True])
def test_drop_oldest_keeps_the_newest_and_counts_the_others(service, connect, tmp_path, spool):
    service.script = unavailable
    place = {"spool": tmp_path / "spool"} if spool else {}
    tally = connect(overflow="drop-oldest", max_bytes=MIN_QUEUE, batch_events=1, batch_seconds=0.001, **place)
    record(tally, *range(30), context=LARGE[:90])
    service.script = lambda request: None
    assert tally.flush(slack(20))
    sent = service.contexts()
    assert sent[-1] == 29
    assert tally.stats.dropped == 30 - len(sent) > 0
    assert tally.stats.recorded == 30
    assert sent[1:] == list(range(31 - len(sent), 30))  # the first may be that whose outcome was unknown


def test_drop_newest_keeps_the_oldest_and_counts_the_others(service, connect):
    service.script = unavailable
    tally = connect(overflow="drop-newest", max_bytes=MIN_QUEUE)
    record(tally, *range(15), context=LARGE[:90])
    service.script = lambda request: None
    assert tally.flush(slack(20))
    assert service.contexts() == list(range(len(service.contexts())))
    assert tally.stats.recorded == len(service.contexts()) == 15 - tally.stats.dropped < 15


def test_raise_says_that_the_event_was_not_recorded(service, connect):
    service.script = unavailable
    tally = connect(overflow="raise", max_bytes=MIN_QUEUE)
    with pytest.raises(QueueFull, match=r"was not recorded, because \d+ events wait"):
        record(tally, *range(15), context=LARGE[:90])
    assert tally.stats.dropped == 0


def test_block_waits_until_there_is_space(service, connect):
    service.script = unavailable
    tally = connect(overflow="block", max_bytes=MIN_QUEUE)
    recording = threading.Thread(target=lambda: record(tally, *range(15), context=LARGE[:90]))
    recording.start()
    wait_until(lambda: tally.stats.waiting >= 11, 10)
    assert recording.is_alive()
    service.script = lambda request: None
    recording.join(slack(20))
    assert tally.flush(slack(20))
    assert service.contexts() == list(range(15))


def test_close_sends_what_waits_and_refuses_more(service, connect):
    tally = connect(batch_seconds=60)
    record(tally, 1)
    tally.close(slack(10))
    assert service.contexts() == [1]
    with pytest.raises(ClientClosed):
        record(tally, 2)


def test_close_does_not_wait_longer_than_it_may(service, connect):
    service.script = unavailable
    tally = connect()
    record(tally, 1)
    began = time.monotonic()
    tally.close(0.2)
    assert time.monotonic() - began < slack(5)
    assert tally.stats.waiting == 1


def test_flush_says_that_events_still_wait(service, connect):
    service.script = unavailable
    tally = connect()
    record(tally, 1)
    assert not tally.flush(0.1)


def test_threads_share_a_client(service, connect):
    tally = connect(batch_events=50)
    threads = [threading.Thread(target=record, args=(tally, *range(part * 500, (part + 1) * 500))) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.flush(slack(20))
    assert sorted(service.contexts()) == list(range(2000))


def test_an_address_that_has_moved_is_named(service, connect):
    tally = connect()
    service.answers(Answer(308, b"", {"Location": "https://tally.example/events"}))
    record(tally, 1)
    wait_until(lambda: service.stored, 10)
    assert tally.stats.last_error == (
        "HTTP 308: the address has moved to https://tally.example/events. Pass that to Tally."
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("Sun, 29 Nov 2026 12:00:30 GMT", 30), ("Sun, 29 Nov 2026 11:00:00 GMT", 0), ("soon", 0), ("", 0)],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    headers = Message()
    headers["Retry-After"], headers["Date"] = value, "Sun, 29 Nov 2026 12:00:00 GMT"
    assert Response(503, headers, b"").retry_after() == seconds


def test_an_idle_connection_that_the_service_closed_is_opened_again(service, connect):
    tally = connect()
    service.closes_silently = True
    record(tally, 1)
    assert tally.flush(slack(10))
    record(tally, 2)
    assert tally.flush(slack(10))
    assert tally.stats[:2] == (2, 2)
    assert tally.stats.last_error is None
