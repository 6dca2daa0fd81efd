"""Idempotency keys: however often and from wherever a request comes again, it is answered the same and stored once."""

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
from app.store.database import database, release
from app.store.models import IdempotencyKey
from tests.support.client import event
from tests.support.threads import at_once

pytestmark = pytest.mark.both_databases

ORIGIN = Origin("203.0.113.7", "request-1")
HOUR = 3_600_000  # milliseconds
BODY = json.dumps([event(context=["é", None, 'q"\\']), event(version="1")]).encode()


@pytest.fixture
def send(services):
    """Accept a body under a key, and give the thread's connection back."""

    def send(body: bytes = BODY, key: str | None = "key", **how: object) -> Receipt:
        try:
            return services.ingest.accept(body, ORIGIN, key=key, **how)
        finally:
            release()

    return send


def numbered(number: int) -> bytes:
    return json.dumps([event(context=[str(number)])]).encode()


def test_without_a_key_or_under_another_one_it_is_stored_again(send, services):
    answers = {send(key=key).answer for key in ("a", "b", None, None)}
    assert len(answers) == 4
    assert services.ingest.count() == 8


def test_the_largest_batch_is_replayed_too(send, services):
    body = b"\n".join([numbered(number)[1:-1] for number in range(10_000)])
    assert send(body, lines=True).answer == send(body, lines=True).answer
    assert services.ingest.count() == 10_000


def test_another_body_under_the_same_key_is_refused(send, services):
    send()
    for other in (BODY + b" ", numbered(1)):
        with pytest.raises(KeyReused):
            send(other)
    with pytest.raises(KeyReused):
        send(lenient=True)  # it would be answered otherwise
    assert services.ingest.count() == 2


def test_of_different_bodies_at_once_one_wins_and_the_others_are_refused(send, services):
    def try_to(number: int) -> bytes | None:
        try:
            return send(numbered(number)).answer
        except KeyReused:
            return None

    answers = at_once(12, try_to)
    assert answers.count(None) == 11
    assert services.ingest.count() == 1


def test_many_keys_that_share_a_commit_do_not_disturb_each_other(send, services):
    receipts = at_once(24, lambda number: send(numbered(number // 2), key=f"key {number // 2}"))
    for first, second in zip(receipts[::2], receipts[1::2], strict=True):
        assert first.answer == second.answer
        assert {first.replayed, second.replayed} == {False, True}
    assert services.ingest.count() == 12


def send_in_a_process(settings: Settings, together, said) -> None:
    ingest = create_app(settings).extensions["services"].ingest
    together.wait()
    receipts = [ingest.accept(numbered(number), ORIGIN, key=str(number)) for number in range(30)]
    said.put([(receipt.answer, receipt.replayed) for receipt in receipts])
    release()


def test_twins_in_two_processes_are_stored_once(settings, services):
    context = multiprocessing.get_context("spawn")
    together, said = context.Barrier(2), context.Queue()
    processes = [context.Process(target=send_in_a_process, args=(settings, together, said)) for _ in range(2)]
    for process in processes:
        process.start()
    ours, theirs = said.get(timeout=60), said.get(timeout=60)
    for process in processes:
        process.join()
    for (one, one_replayed), (other, other_replayed) in zip(ours, theirs, strict=True):
        assert one == other
        assert one_replayed != other_replayed
    assert services.ingest.count() == 30


def test_it_is_known_after_a_restart(send, settings, services):
    first = send()
    again = create_app(settings).extensions["services"].ingest.accept(BODY, ORIGIN, key="key")
    assert (again.replayed, again.answer) == (True, first.answer)
    assert services.ingest.count() == 2


def test_a_lenient_answer_is_replayed_with_its_number_of_rejected_events(send, services):
    body = json.dumps([event(), event(timestamp=-1), event()]).encode()
    first = send(body, lenient=True)
    assert first.rejected == 1
    assert send(body, lenient=True) == replace(first, replayed=True)
    services.rejected.flush()
    assert services.rejected.by_field() == [("timestamp", 1)]  # it is not rejected a second time either


@pytest.mark.parametrize("body", [b"[]", b"[{}]"], ids=["of nothing", "of invalid events only"])
def test_an_answer_without_events_is_an_answer(send, services, body):
    first = send(body, lenient=True)
    assert first.answer == b"[]"
    assert send(body, lenient=True) == replace(first, replayed=True)
    with pytest.raises(KeyReused):
        send()


def test_a_refused_or_failed_request_leaves_its_key_free(send, services, monkeypatch):
    with pytest.raises(InputInvalid):
        send(json.dumps([event(timestamp=-1)]).encode())
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(database.obj, "insert_encoded", lambda payloads: 1 / 0)
        send()
    assert not send().replayed
    assert services.ingest.count() == 2


def test_a_key_is_kept_for_a_day_at_least_and_not_for_ever(send, services, monkeypatch):
    first = send()
    accepted = IdempotencyKey.get_by_id("key").created
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


def test_a_request_without_a_key_asks_the_database_nothing_more(send, services, monkeypatch):
    asked = []
    execute = database.obj.execute_sql
    monkeypatch.setattr(
        database.obj, "execute_sql", lambda sql, *args, **kwargs: asked.append(sql) or execute(sql, *args, **kwargs)
    )
    send(key=None)
    send(key=None)
    assert not [sql for sql in asked if "idempotency_key" in sql]
