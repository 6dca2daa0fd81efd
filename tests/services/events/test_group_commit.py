"""The shared commit: requests that wait together are written together, and each is told the truth about its events."""

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
from tests.support.outages import Gate, away, before, break_connection, once
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.threads import Aside, at_once

pytestmark = pytest.mark.both_databases

ORIGIN = Origin("", "")
BAD = "BAD"  # events of this product are refused by the database itself
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
    """Accept one event, or `count` of them, in whatever thread calls it."""

    def send(name: object, *, count: int = 1, product: str = "PORTFOLIO") -> list[dict]:
        events = [event(context=[str(name)], product=product) for _ in range(count)]
        try:
            return json.loads(services.ingest.accept(json.dumps(events).encode(), ORIGIN).answer)
        finally:
            release()

    return send


@pytest.fixture
def refusing(app, database_url):
    """Let the database refuse events of the product BAD."""
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
    """A gate before each commit."""
    with Gate(monkeypatch, "commit_group") as gate:
        yield gate


@pytest.fixture
def inserts(monkeypatch, app):
    """A gate before each transaction's inserts."""
    with Gate(monkeypatch, "insert_encoded") as gate:
        yield gate


@pytest.fixture
def queued(services):
    """Return when so many entries wait for the writer."""
    return lambda number: wait_until(lambda: services.ingest._writer._queue.qsize() == number, 10)


def stored() -> list[str]:
    """The contexts of what is stored, in the order of acceptance."""
    try:
        rows = database.execute_sql("SELECT context FROM event ORDER BY id").fetchall()
        return [(json.loads(items) if isinstance(items, str) else items)[0] for (items,) in rows]
    finally:
        release()


def test_requests_that_wait_together_share_one_transaction(send, commits, queued):
    with Aside() as aside, commits:
        first = aside.start(send, "first")
        commits.until_reached()
        others = [aside.start(send, number) for number in range(10)]
        queued(10)
        assert not any(one.done() for one in (first, *others))
        commits.open()
        batches = {one.result()[0]["batch"] for one in (first, *others)}
    assert commits.count == 2
    assert len(batches) == len(stored()) == 11


def test_nobody_is_answered_before_the_commit(send, commits):
    with Aside() as aside, commits:
        answer = aside.start(send, "x")
        commits.until_reached()
        time.sleep(0.1)
        assert not answer.done()
        assert stored() == []
    assert stored() == ["x"]


def test_they_are_stored_in_the_order_in_which_they_came(send, commits, queued):
    with Aside() as aside, commits:
        aside.start(send, "first")
        commits.until_reached()
        for number in range(8):
            aside.start(send, number, count=2)
            queued(number + 1)
        commits.open()
    assert stored() == ["first", *[str(number) for number in range(8) for _ in range(2)]]


def test_a_group_ends_where_it_is_large_enough(send, commits, queued, monkeypatch):
    monkeypatch.setattr(writer, "MAX_GROUP_EVENTS", 10)
    with Aside() as aside, commits:
        aside.start(send, "first")
        commits.until_reached()
        for number in range(6):
            aside.start(send, number, count=5)
            queued(number + 1)
        commits.open()
    assert commits.count == 1 + 3
    assert len(stored()) == 31


def test_a_single_event_goes_before_batches_that_came_earlier_and_with_none_of_them(
    send, commits, queued, services, monkeypatch
):
    monkeypatch.setattr(writer, "SMALL_EVENTS", 4)
    monkeypatch.setattr(services.ingest._writer, "_pace", Pace(5, 5))  # one large one at a time
    with Aside() as aside, commits:
        aside.start(send, "large", count=5)
        commits.until_reached()
        for number in range(3):
            aside.start(send, number, count=5)
            queued(number + 1)
        aside.start(send, "single")
        queued(4)
        commits.open()
    assert list(dict.fromkeys(stored())) == ["large", "single", "0", "1", "2"]
    assert commits.count == 5


def test_under_many_clients_nothing_is_lost_and_commits_are_fewer(send, commits):
    commits.open()
    answers = at_once(16, lambda client: [send(f"{client}-{number}", count=3) for number in range(15)])
    assert len({one["batch"] for batches in answers for batch in batches for one in batch}) == 240
    assert sorted(stored()) == sorted(
        f"{client}-{number}" for client in range(16) for number in range(15) for _ in "123"
    )
    assert commits.count < 240


def test_what_the_database_refuses_fails_alone(send, commits, queued, refusing):
    with Aside() as aside, commits:
        first = aside.start(send, "first")
        commits.until_reached()
        answers = []
        for number in range(6):
            answers.append(aside.start(send, number, product=BAD if number in (1, 4) else "PORTFOLIO"))
            queued(number + 1)
        commits.open()
        errors = [one.exception() for one in (first, *answers)]
    assert [error is None for error in errors] == [True, True, False, True, True, False, True]
    assert not any(isinstance(error, StoreUnavailable) for error in errors)
    assert stored() == ["first", "0", "2", "3", "5"]
    send("afterwards")
    assert stored()[-1] == "afterwards"


def test_a_fault_of_the_database_is_not_called_a_success_or_a_moment_to_wait_for(nobody, refusing):
    answer = nobody.post("/events", [event(product=BAD)])
    assert answer.status_code == 500
    assert stored() == []


def test_a_short_absence_is_waited_for(send, monkeypatch):
    absences = iter([away] * 3)
    before(monkeypatch, "begin_group", lambda: next(absences, lambda: None)())
    assert len(send("x")) == 1
    assert stored() == ["x"]


@short_wait
def test_a_request_whose_time_is_up_is_told_so_and_not_stored_later(send, monkeypatch):
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
def test_one_that_still_queues_when_its_time_is_up_is_not_stored_later(send, commits):
    with Aside() as aside, commits:
        first = aside.start(send, "first")
        commits.until_reached()
        with pytest.raises(StoreUnavailable) as error:
            send("too late")
        assert not isinstance(error.value, OutcomeUnknown)
        commits.open()
        first.result()
    send("afterwards")
    assert stored() == ["first", "afterwards"]


@short_wait
def test_one_that_is_being_written_when_its_time_is_up_is_left_out(send, inserts, queued, monkeypatch):
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.2)
    with Aside() as aside, inserts:
        first = aside.start(send, "first")
        inserts.until_reached()
        late = aside.start(send, "too late")
        queued(1)
        time.sleep(0.5)
        neighbour = aside.start(send, "neighbour")
        queued(2)
        inserts.open()
        inserts.close()
        inserts.until_reached(2)  # the two in one group
        assert isinstance(late.exception(), StoreUnavailable)
        assert not isinstance(late.exception(), OutcomeUnknown)
        inserts.open()
        first.result()
        neighbour.result()
    assert stored() == ["first", "neighbour"]


@short_wait
def test_where_the_commit_is_silent_nobody_says_that_nothing_was_stored(nobody, send, commits, monkeypatch):
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.2)
    answer = nobody.post("/events", [event(context=["who knows"])])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "Nothing was stored" not in answer.get_data(as_text=True)
    commits.open()
    wait_until(lambda: stored() == ["who knows"], 10)


def test_events_that_wait_are_bounded(send, commits, queued, services, monkeypatch):
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS", 10)
    with Aside() as aside, commits:
        aside.start(send, "first", count=4)
        commits.until_reached()
        aside.start(send, "second", count=4)
        queued(1)
        services.ingest._writer._wait_seconds = 0.5
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="More events are waiting"):
            send("third", count=4)
        assert 0.4 < time.monotonic() - began < slack(3)
        queued(1)  # it did not even get there
    send("afterwards")
    assert stored() == ["first"] * 4 + ["second"] * 4 + ["afterwards"]


def test_one_that_waits_for_room_goes_in_when_there_is_some(send, commits, queued, monkeypatch):
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS", 10)
    with Aside() as aside, commits:
        answers = [aside.start(send, "first", count=9)]
        commits.until_reached()
        answers += [aside.start(send, name, count=size) for name, size in (("large", 9), ("small", 1), ("huge", 50))]
        queued(1)  # the small one, which has room beside the first
        commits.open()
        for answer in answers:
            answer.result()
    assert sorted(set(stored())) == ["first", "huge", "large", "small"]


@pytest.fixture
def looked_up(monkeypatch, app) -> list[bool]:
    """What the database said of transactions whose answer was lost."""
    said, ask = [], database.obj.was_committed

    def asked(*given: object) -> bool:
        said.append(ask(*given))
        return said[-1]

    monkeypatch.setattr(database.obj, "was_committed", asked)
    return said


@postgresql_only
def test_a_commit_whose_answer_is_lost_is_looked_up_and_not_repeated(send, looked_up, monkeypatch):
    commit, first = database.obj.commit_group, iter([True])

    def lose_the_answer() -> None:
        commit()
        if next(first, False):
            break_connection()
            database.obj.execute_sql("SELECT 1")

    monkeypatch.setattr(database.obj, "commit_group", lose_the_answer)
    send("once", count=3)
    assert looked_up == [True]
    assert stored() == ["once"] * 3


@postgresql_only
def test_a_commit_that_never_arrived_is_repeated(send, looked_up, monkeypatch):
    before(monkeypatch, "commit_group", once(break_connection))
    send("once", count=3)
    assert looked_up[-1] is False
    assert stored() == ["once"] * 3


@postgresql_only
@short_wait
def test_one_whose_time_is_up_in_doubt_is_not_repeated(send, monkeypatch):
    monkeypatch.setattr(writer, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(writer, "PAUSES", (0.05,))
    before(monkeypatch, "commit_group", once(break_connection))
    with monkeypatch.context() as patch, pytest.raises(OutcomeUnknown):
        before(patch, "was_committed", away)
        send("not committed")
    send("afterwards")
    assert stored() == ["afterwards"]


@postgresql_only
def test_a_connection_that_breaks_while_it_writes_costs_nobody_anything(send, looked_up, monkeypatch):
    before(monkeypatch, "insert_encoded", once(break_connection))
    send("once", count=3)
    assert looked_up == []  # no commit was sent: there is nothing to look up
    assert stored() == ["once"] * 3


@postgresql_only
def test_a_transaction_that_is_still_under_way_is_not_called_lost(app, database_url):
    with psycopg.connect(database_url) as connection:
        ticket = connection.execute("SELECT pg_current_xact_id()::text").fetchone()[0]
        with pytest.raises(StoreUnavailable):
            database.was_committed(ticket)
        connection.commit()
    assert database.was_committed(ticket) is True


@postgresql_only
def test_a_transaction_that_the_server_does_not_know_yet_was_not_committed(app):
    """As after a restore from a backup: its number will be given to another one."""
    newest = int(database.execute_sql("SELECT pg_current_xact_id()::text").fetchone()[0])
    assert database.was_committed(str(newest + 1_000_000)) is False


@postgresql_only
def test_a_transaction_whose_id_another_one_got_after_a_crash_was_not_committed(app, nobody):
    """A crashed server gives the ids of the transactions that it lost to the next ones."""
    ticket = database.execute_sql("SELECT pg_current_xact_id()::text").fetchone()[0]  # committed, and not theirs
    (stored_event,) = nobody.send(event(customer="A\\B", context=["a\ttab", None]))
    values = [stored_event[name] for name in ("customer", "product", "type")]
    row = (*values, None, stored_event["timestamp"], stored_event["context"], 1, stored_event["batch"], 0)
    lost = (*row[:7], str(uuid.uuid4()), 0)
    assert database.was_committed(ticket, database.encode_events([row]))
    assert not database.was_committed(ticket, database.encode_events([lost]))
