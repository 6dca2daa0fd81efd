"""Group commit: concurrent requests share a transaction, and each gets a correct response about its events."""

from __future__ import annotations

import json
import time
import uuid

import psycopg
import pytest

from app.exceptions import OutcomeUnknown, StoreUnavailable
from app.services.events.rejected import Origin
from app.store.database import database, release
from app.store.events import writer
from app.store.step_size import Pace
from tests.support.client import event
from tests.support.outages import StepBlocker, away, before, break_connection, once
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads, at_once

pytestmark = pytest.mark.both_databases

ORIGIN = Origin("", "")
BAD = "BAD"  # the database rejects events of this product
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
short_wait = pytest.mark.settings(ingest_wait_seconds=1)

REFUSE = {
    "sqlite": [
        f"CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.product = '{BAD}' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$",
        f"CREATE TRIGGER refuse BEFORE INSERT ON event FOR EACH ROW WHEN (NEW.product = '{BAD}') "
        "EXECUTE FUNCTION refuse()",
    ],
}


@pytest.fixture
def send(services):
    """Return a function that accepts `count` events in the calling thread."""

    def send(name: object, *, count: int = 1, product: str = "PORTFOLIO") -> list[dict]:
        events = [event(context=[str(name)], product=product) for _ in range(count)]
        try:
            return json.loads(services.ingest.accept(json.dumps(events).encode(), ORIGIN).answer)
        finally:
            release()

    return send


@pytest.fixture
def refuse_bad(app, database_url):
    """Make the database reject events of the product BAD."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    for statement in REFUSE[kind]:
        database.execute_sql(statement)
    release()
    yield
    if kind == "postgresql":
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP TRIGGER refuse ON event; DROP FUNCTION refuse")


@pytest.fixture
def commits(monkeypatch, app):
    """A blocker before each commit."""
    with StepBlocker(monkeypatch, "commit_group") as blocker:
        yield blocker


@pytest.fixture
def inserts(monkeypatch, app):
    """A blocker before each transaction's inserts."""
    with StepBlocker(monkeypatch, "insert_encoded") as blocker:
        yield blocker


@pytest.fixture
def wait_for_queue(services):
    """Return a function that waits until this number of requests is queued for the writer."""
    return lambda number: wait_until(lambda: services.ingest._writer._queue.qsize() == number, 10)


def stored() -> list[str]:
    """Return the contexts of the stored events in the order of acceptance."""
    try:
        rows = database.execute_sql("SELECT context FROM event ORDER BY id").fetchall()
        return [(json.loads(items) if isinstance(items, str) else items)[0] for (items,) in rows]
    finally:
        release()


def test_concurrent_requests_share_a_transaction(send, commits, wait_for_queue):
    with BackgroundThreads() as background, commits:
        first = background.start(send, "first")
        commits.until_reached()
        others = [background.start(send, number) for number in range(10)]
        wait_for_queue(10)
        assert not any(future.done() for future in (first, *others))
        commits.open()
        batches = {future.result()[0]["batch"] for future in (first, *others)}
    assert commits.count == 2
    assert len(batches) == len(stored()) == 11


def test_a_request_is_answered_after_the_commit(send, commits):
    with BackgroundThreads() as background, commits:
        answer = background.start(send, "x")
        commits.until_reached()
        time.sleep(0.1)
        assert not answer.done()
        assert stored() == []
    assert stored() == ["x"]


def test_events_are_stored_in_the_order_of_arrival(send, commits, wait_for_queue):
    with BackgroundThreads() as background, commits:
        background.start(send, "first")
        commits.until_reached()
        for number in range(8):
            background.start(send, number, count=2)
            wait_for_queue(number + 1)
        commits.open()
    assert stored() == ["first", *[str(number) for number in range(8) for _ in range(2)]]


def test_the_size_of_a_group_is_limited(send, commits, wait_for_queue, monkeypatch):
    monkeypatch.setattr(writer, "MAX_GROUP_EVENTS", 10)
    with BackgroundThreads() as background, commits:
        background.start(send, "first")
        commits.until_reached()
        for number in range(6):
            background.start(send, number, count=5)
            wait_for_queue(number + 1)
        commits.open()
    assert commits.count == 1 + 3
    assert len(stored()) == 31


def test_a_single_event_overtakes_large_batches_in_its_own_transaction(
    send, commits, wait_for_queue, services, monkeypatch
):
    monkeypatch.setattr(writer, "SMALL_EVENTS", 4)
    monkeypatch.setattr(services.ingest._writer, "_pace", Pace(5, 5))  # one large batch at a time
    with BackgroundThreads() as background, commits:
        background.start(send, "large", count=5)
        commits.until_reached()
        for number in range(3):
            background.start(send, number, count=5)
            wait_for_queue(number + 1)
        background.start(send, "single")
        wait_for_queue(4)
        commits.open()
    assert list(dict.fromkeys(stored())) == ["large", "single", "0", "1", "2"]
    assert commits.count == 5


def test_many_concurrent_clients_lose_nothing_and_need_fewer_commits(send, commits):
    commits.open()
    answers = at_once(16, lambda client: [send(f"{client}-{number}", count=3) for number in range(15)])
    assert len({stored_event["batch"] for batches in answers for batch in batches for stored_event in batch}) == 240
    assert sorted(stored()) == sorted(
        f"{client}-{number}" for client in range(16) for number in range(15) for _ in "123"
    )
    assert commits.count < 240


def test_a_rejected_request_does_not_fail_the_others_of_its_group(send, commits, wait_for_queue, refuse_bad):
    with BackgroundThreads() as background, commits:
        first = background.start(send, "first")
        commits.until_reached()
        answers = []
        for number in range(6):
            answers.append(background.start(send, number, product=BAD if number in (1, 4) else "PORTFOLIO"))
            wait_for_queue(number + 1)
        commits.open()
        errors = [future.exception() for future in (first, *answers)]
    assert [error is None for error in errors] == [True, True, False, True, True, False, True]
    assert not any(isinstance(error, StoreUnavailable) for error in errors)
    assert stored() == ["first", "0", "2", "3", "5"]
    send("afterwards")
    assert stored()[-1] == "afterwards"


def test_an_error_of_the_database_is_neither_a_success_nor_answered_as_temporary(nobody, refuse_bad):
    answer = nobody.post("/events", [event(product=BAD)])
    assert answer.status_code == 500
    assert stored() == []


def test_a_short_outage_is_waited_out(send, monkeypatch):
    absences = iter([away] * 3)
    before(monkeypatch, "begin_group", lambda: next(absences, lambda: None)())
    assert len(send("x")) == 1
    assert stored() == ["x"]


@short_wait
def test_a_request_that_times_out_gets_an_error_and_is_not_stored_later(send, monkeypatch):
    monkeypatch.setattr(writer, "PAUSES", (0.05,))
    began = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable, match=r"It is away\."):
        before(patch, "begin_group", away)
        send("too late")
    assert 0.9 < time.monotonic() - began < slack(4)
    send("in time")
    time.sleep(0.2)
    assert stored() == ["in time"]


@short_wait
def test_a_request_that_times_out_in_the_queue_is_not_stored_later(send, commits):
    with BackgroundThreads() as background, commits:
        first = background.start(send, "first")
        commits.until_reached()
        with pytest.raises(StoreUnavailable) as error:
            send("too late")
        assert not isinstance(error.value, OutcomeUnknown)
        commits.open()
        first.result()
    send("afterwards")
    assert stored() == ["first", "afterwards"]


@short_wait
def test_a_request_that_times_out_while_it_is_written_is_excluded(send, inserts, wait_for_queue, monkeypatch):
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.2)
    with BackgroundThreads() as background, inserts:
        first = background.start(send, "first")
        inserts.until_reached()
        late = background.start(send, "too late")
        wait_for_queue(1)
        time.sleep(0.5)
        neighbour = background.start(send, "neighbour")
        wait_for_queue(2)
        inserts.open()
        inserts.close()
        inserts.until_reached(2)  # both requests in one group
        assert isinstance(late.exception(), StoreUnavailable)
        assert not isinstance(late.exception(), OutcomeUnknown)
        inserts.open()
        first.result()
        neighbour.result()
    assert stored() == ["first", "neighbour"]


@short_wait
def test_a_timeout_during_the_commit_does_not_claim_that_nothing_was_stored(nobody, send, commits, monkeypatch):
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.2)
    answer = nobody.post("/events", [event(context=["who knows"])])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Nothing was stored" not in answer.get_data(as_text=True)
    commits.open()
    wait_until(lambda: stored() == ["who knows"], 10)


def test_the_number_of_waiting_events_is_limited(send, commits, wait_for_queue, services, monkeypatch):
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS", 10)
    with BackgroundThreads() as background, commits:
        background.start(send, "first", count=4)
        commits.until_reached()
        background.start(send, "second", count=4)
        wait_for_queue(1)
        services.ingest._writer._wait_seconds = 0.5
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="More events are waiting"):
            send("third", count=4)
        assert 0.4 < time.monotonic() - began < slack(3)
        wait_for_queue(1)  # it was not even queued
    send("afterwards")
    assert stored() == ["first"] * 4 + ["second"] * 4 + ["afterwards"]


def test_a_request_that_waits_for_capacity_is_queued_when_there_is_some(send, commits, wait_for_queue, monkeypatch):
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS", 10)
    with BackgroundThreads() as background, commits:
        answers = [background.start(send, "first", count=9)]
        commits.until_reached()
        answers += [
            background.start(send, name, count=size) for name, size in (("large", 9), ("small", 1), ("huge", 50))
        ]
        wait_for_queue(1)  # the small request, which fits beside the first
        commits.open()
        for answer in answers:
            answer.result()
    assert sorted(set(stored())) == ["first", "huge", "large", "small"]


@pytest.fixture
def lookups(monkeypatch, app) -> list[bool]:
    """Record the results of looking up transactions whose commit got no answer."""
    results, was_committed = [], database.obj.was_committed

    def record(*args: object) -> bool:
        results.append(was_committed(*args))
        return results[-1]

    monkeypatch.setattr(database.obj, "was_committed", record)
    return results


@postgresql_only
def test_a_commit_without_an_answer_is_looked_up_and_not_repeated(send, lookups, monkeypatch):
    commit, first = database.obj.commit_group, iter([True])

    def lose_the_answer() -> None:
        commit()
        if next(first, False):
            break_connection()
            database.obj.execute_sql("SELECT 1")

    monkeypatch.setattr(database.obj, "commit_group", lose_the_answer)
    send("once", count=3)
    assert lookups == [True]
    assert stored() == ["once"] * 3


@postgresql_only
def test_a_commit_that_never_arrived_is_repeated(send, lookups, monkeypatch):
    before(monkeypatch, "commit_group", once(break_connection))
    send("once", count=3)
    assert lookups[-1] is False
    assert stored() == ["once"] * 3


@postgresql_only
@short_wait
def test_a_request_that_times_out_with_its_commit_in_doubt_is_not_repeated(send, monkeypatch):
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(writer, "PAUSES", (0.05,))
    before(monkeypatch, "commit_group", once(break_connection))
    with monkeypatch.context() as patch, pytest.raises(OutcomeUnknown):
        before(patch, "was_committed", away)
        send("not committed")
    send("afterwards")
    assert stored() == ["afterwards"]


@postgresql_only
def test_a_connection_that_breaks_before_the_commit_is_retried_without_a_lookup(send, lookups, monkeypatch):
    before(monkeypatch, "insert_encoded", once(break_connection))
    send("once", count=3)
    assert lookups == []  # no commit was sent, so there is nothing to look up
    assert stored() == ["once"] * 3


@postgresql_only
def test_a_transaction_in_progress_is_not_reported_as_lost(app, database_url):
    with psycopg.connect(database_url) as connection:
        transaction_id = connection.execute("SELECT pg_current_xact_id()::text").fetchone()[0]
        with pytest.raises(StoreUnavailable):
            database.was_committed(transaction_id)
        connection.commit()
    assert database.was_committed(transaction_id) is True


@postgresql_only
def test_a_transaction_unknown_to_the_server_was_not_committed(app):
    """After a restore from a backup, the server assigns the id to another transaction."""
    newest = int(database.execute_sql("SELECT pg_current_xact_id()::text").fetchone()[0])
    assert database.was_committed(str(newest + 1_000_000)) is False


@postgresql_only
def test_a_reused_transaction_id_after_a_crash_does_not_count_as_committed(app, nobody):
    """A server that crashed assigns the ids of lost transactions again."""
    # committed, but by another transaction
    transaction_id = database.execute_sql("SELECT pg_current_xact_id()::text").fetchone()[0]
    (stored_event,) = nobody.send(event(customer="A\\B", context=["a\ttab", None]))
    values = [stored_event[name] for name in ("customer", "product", "type")]
    row = (*values, None, stored_event["timestamp"], stored_event["context"], 1, stored_event["batch"], 0)
    lost = (*row[:7], str(uuid.uuid4()), 0)
    assert database.was_committed(transaction_id, database.encode_events([row]))
    assert not database.was_committed(transaction_id, database.encode_events([lost]))
