"""Idempotency keys: a repeated request gets the same response and is stored once, in any process."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import pytest

from app import create_app
from app.config import Settings
from app.exceptions import InputInvalid, KeyReused
from app.services.events.ingest import Receipt
from app.services.events.rejected import Origin
from app.store.database import database, forget_connections, release
from app.store.models import IdempotencyKey
from tests.support.client import event
from tests.support.threads import at_once

pytestmark = pytest.mark.both_databases

ORIGIN = Origin("203.0.113.7", "request-1")
HOUR = 3_600_000  # milliseconds
BODY = json.dumps([event(context=["é", None, 'q"\\']), event(version="1")]).encode()


@pytest.fixture
def send(services):
    """Return a function that accepts a body under a key, and releases the thread's connection."""

    def send(body: bytes = BODY, key: str | None = "key", **options: object) -> Receipt:
        try:
            return services.ingest.accept(body, ORIGIN, key=key, **options)
        finally:
            release()

    return send


def numbered(number: int) -> bytes:
    return json.dumps([event(context=[str(number)])]).encode()


def test_without_a_key_or_under_another_key_a_body_is_stored_again(send, services):
    answers = {send(key=key).answer for key in ("a", "b", None, None)}
    assert len(answers) == 4
    assert services.ingest.count() == 8


def test_the_largest_batch_is_replayed_too(send, services):
    body = b"\n".join([numbered(number)[1:-1] for number in range(10_000)])
    assert send(body, lines=True).answer == send(body, lines=True).answer
    assert services.ingest.count() == 10_000


def test_another_body_under_the_same_key_is_rejected(send, services):
    send()
    for other in (BODY + b" ", numbered(1)):
        with pytest.raises(KeyReused):
            send(other)
    with pytest.raises(KeyReused):
        send(lenient=True)  # the response would differ
    assert services.ingest.count() == 2


def test_of_different_concurrent_bodies_under_one_key_one_is_stored(send, services):
    def send_body(number: int) -> bytes | None:
        try:
            return send(numbered(number)).answer
        except KeyReused:
            return None

    answers = at_once(12, send_body)
    assert answers.count(None) == 11
    assert services.ingest.count() == 1


def test_many_keys_in_a_shared_commit_do_not_affect_each_other(send, services):
    receipts = at_once(24, lambda number: send(numbered(number // 2), key=f"key {number // 2}"))
    for first, second in zip(receipts[::2], receipts[1::2], strict=True):
        assert first.answer == second.answer
        assert {first.replayed, second.replayed} == {False, True}
    assert services.ingest.count() == 12


def send_in_a_process(settings: Settings, barrier, results) -> None:
    if hasattr(database, "dispose"):  # those of the parent
        forget_connections()
    ingest = create_app(settings).extensions["services"].ingest
    barrier.wait()
    receipts = [ingest.accept(numbered(number), ORIGIN, key=str(number)) for number in range(30)]
    results.put([(receipt.answer, receipt.replayed) for receipt in receipts])
    release()


def test_equal_requests_in_two_processes_are_stored_once(settings, services):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=send_in_a_process, args=(settings, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    first_results, second_results = results.get(timeout=60), results.get(timeout=60)
    for process in processes:
        process.join()
    for (first, first_replayed), (second, second_replayed) in zip(first_results, second_results, strict=True):
        assert first == second
        assert first_replayed != second_replayed
    assert services.ingest.count() == 30


def test_a_key_is_known_after_a_restart(send, settings, services):
    first = send()
    repeated = create_app(settings).extensions["services"].ingest.accept(BODY, ORIGIN, key="key")
    assert (repeated.replayed, repeated.answer) == (True, first.answer)
    assert services.ingest.count() == 2


def test_a_lenient_answer_is_replayed_with_its_number_of_rejected_events(send, services):
    body = json.dumps([event(), event(timestamp=-1), event()]).encode()
    first = send(body, lenient=True)
    assert first.rejected == 1
    assert send(body, lenient=True) == replace(first, replayed=True)
    services.rejected.flush()
    assert services.rejected.by_field() == [("timestamp", 1)]  # it is not rejected a second time


@pytest.mark.parametrize("body", [b"[]", b"[{}]"], ids=["of nothing", "of invalid events only"])
def test_an_empty_response_is_replayed(send, services, body):
    first = send(body, lenient=True)
    assert first.answer == b"[]"
    assert send(body, lenient=True) == replace(first, replayed=True)
    with pytest.raises(KeyReused):
        send()


def test_a_rejected_or_failed_request_does_not_use_up_its_key(send, services, monkeypatch):
    with pytest.raises(InputInvalid):
        send(json.dumps([event(timestamp=-1)]).encode())
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(database.obj, "insert_encoded", lambda payloads: 1 / 0)
        send()
    assert not send().replayed
    assert services.ingest.count() == 2


def test_a_key_is_kept_for_at_least_a_day_and_then_purged(send, services, monkeypatch):
    first = send()
    accepted = IdempotencyKey.get_by_id("key").created_at
    for hours in (1, 24, 47):
        monkeypatch.setattr(
            "app.services.operations.scheduler.server_time", lambda hours=hours: accepted + hours * HOUR
        )
        services.scheduler.run_all()
        assert send().answer == first.answer
    monkeypatch.setattr("app.services.operations.scheduler.server_time", lambda: accepted + 49 * HOUR)
    services.scheduler.run_all()
    assert IdempotencyKey.select().count() == 0
    assert not send().replayed


def test_a_request_without_a_key_needs_no_further_query(send, services, monkeypatch):
    statements = []
    execute = database.obj.execute_sql
    monkeypatch.setattr(
        database.obj,
        "execute_sql",
        lambda sql, *args, **kwargs: statements.append(sql) or execute(sql, *args, **kwargs),
    )
    send(key=None)
    send(key=None)
    assert not [sql for sql in statements if "idempotency_key" in sql]
