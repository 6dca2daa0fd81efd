"""A follower gets every event once, in the order of acceptance, or an error that says what it can no longer get."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode

import pytest

from app.exceptions import StoreUnavailable
from app.services.events import changes
from app.services.people import tokens
from app.services.people.principal import SYSTEM
from app.store.database import database
from app.store.events import changes as store
from app.store.events import erase
from app.store.events.filters import EventFilter
from app.store.models import ErasureTrace, Event
from tests.conftest import PASSWORD
from tests.support.client import Client, event, faults, root
from tests.support.pace import slack, times
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads, at_once

ROW = ("BARCHART", "PORTFOLIO", "HELD", None, 1_600_000_000_000, ["held"], 1, "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b", 0)


def ask(client: Client, after: str | None = None, **query: object) -> dict:
    answer = client.get(address(after, **query))
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def address(after: str | None = None, **query: object) -> str:
    return f"/events/changes?{urlencode(query | ({} if after is None else {'after': after}), doseq=True)}"


def follow(client: Client, after: str | None = None, **query: object) -> tuple[list[str], str]:
    """Return the first context item of each event until no more follow, and the last cursor."""
    found: list[str] = []
    while True:
        page = ask(client, after, **query)
        found += [one["context"][0] for one in page["events"]]
        if page["next"] == after:
            return found, after
        after = page["next"]


def send(client: Client, *names: str, **changes: object) -> None:
    client.send(*[event(context=[name], **changes) for name in names])


def erase_all(**criteria: object) -> int:
    return sum(erase.erase(EventFilter(snapshot_max_id=erase.counted_cut(), **criteria)))


@pytest.fixture
def in_turn(monkeypatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that sets what happens each time a follower is about to read events."""

    def set_action(action: Callable[[], None]) -> None:
        read = store.read
        monkeypatch.setattr(store, "read", lambda *args: (action(), read(*args))[1])

    return set_action


@pytest.mark.both_databases
def test_events_come_once_in_the_order_of_acceptance_and_whole(nobody, analyst):
    stored = nobody.send(event(timestamp=5, version="2"), event(timestamp=3), event(timestamp=4, context=[None, ""]))
    first = ask(analyst, limit=2)
    assert list(first) == ["events", "next"]
    last = ask(analyst, first["next"], limit=2)
    events = first["events"] + last["events"]
    assert [{key: one[key] for key in one if key != "received"} for one in events] == stored
    assert list(events[0]) == [*stored[0], "received"]
    assert ask(analyst, last["next"]) == {"events": [], "next": last["next"]}
    nobody.send(event(timestamp=1))
    assert [one["timestamp"] for one in ask(analyst, last["next"])["events"]] == [1]


def test_a_follower_may_begin_at_the_end_even_of_an_empty_database(nobody, analyst):
    end = ask(analyst, "now")
    assert end["events"] == []
    send(nobody, "a")
    later = ask(analyst, "now")["next"]
    send(nobody, "b")
    assert (follow(analyst, end["next"])[0], follow(analyst, later)[0]) == (["a", "b"], ["b"])


def test_only_events_that_match_and_that_the_caller_may_see_come(nobody, admin, analyst):
    send(nobody, "a")
    send(nobody, "b", product="OTHER")
    send(nobody, "c", customer="FERNHILL")
    send(nobody, "d", type="CLOSED")
    assert follow(admin)[0] == ["a", "b", "c", "d"]
    assert follow(analyst)[0] == ["a", "b", "d"]
    assert follow(admin, product="PORTFOLIO", types=["CLOSED", "PORTFOLIO-APPLICATION-LOADED"])[0] == ["a", "c", "d"]
    assert follow(admin, customer="FERNHILL")[0] == ["c"]
    refused = analyst.get(address(customer="FERNHILL"))
    assert (refused.status_code, root(refused)) == (403, "REQUEST_AUTHORIZATION_FAILURE")
    unknown = admin.get(address(customer="FERNHIL"))
    assert (unknown.status_code, "FERNHILL" in faults(unknown)[0][1]) == (400, True)


@pytest.mark.parametrize("query", ["after=1", "after=x-1-", "wait=61", "wait=-1", "limit=0", "limit=1001", "start=1"])
def test_wrong_parameters_are_named(admin, query):
    answer = admin.get(f"/events/changes?{query}")
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    assert query.partition("=")[0] in faults(answer)[0][1]


def test_the_work_of_a_request_is_bounded_and_the_cursor_advances_over_what_does_not_match(nobody, admin, monkeypatch):
    monkeypatch.setattr(store, "MAX_SCANNED", 10)
    nobody.send(*[event(context=[str(number)]) for number in range(25)])
    send(nobody, "rare", type="RARE")
    began = time.monotonic()
    first = ask(admin, types="RARE", wait=60)  # which does not wait while there is more to read
    assert (first["events"], time.monotonic() - began < 50) == ([], True)
    second = ask(admin, first["next"], types="RARE")
    third = ask(admin, second["next"], types="RARE")
    assert len({first["next"], second["next"], third["next"]}) == 3
    assert [one["type"] for one in second["events"] + third["events"]] == ["RARE"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_event_that_is_committed_late_comes_before_later_ones_and_none_is_skipped(nobody, admin):
    send(nobody, "before")
    begin = ask(admin, limit=1)["next"]
    send(nobody, "next")
    with BackgroundThreads() as threads:
        assert threads.start(follow, admin, begin).result(timeout=30)[0] == ["next"]
        database.begin_group()
        database.insert_encoded([database.encode_events([ROW])])
        threads.start(send, nobody, "after").result(timeout=30)  # has the higher id, and is committed first
        first, cursor = threads.start(follow, admin, begin).result(timeout=30)
        assert first == ["next"]
        waiting = threads.start(ask, admin, cursor, wait=60)
        database.commit_group()
        assert [one["context"][0] for one in waiting.result(timeout=60)["events"]] == ["held", "after"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_tip_advances_although_some_transaction_is_always_inserting(app, monkeypatch):
    looks = iter([(3, {"a"}), (5, {"a", "b"}), (7, {"b", "c"}), (9, {"c", "d"}), (9, {"d"}), (9, set())])
    monkeypatch.setattr(database.obj, "inserting", lambda: next(looks))
    monkeypatch.setattr(store, "SETTLE_SECONDS", 0)
    tip = store.Tip()
    assert [tip.key(-1) for _ in range(6)] == [0, 0, 3, 3, 7, 9]


@pytest.mark.both_databases
def test_concurrent_writers_and_followers_see_every_event_once(nobody, admin):
    count, writers = times(15, 100), 4

    def act(number: int) -> list[str]:
        if number < writers:
            for turn in range(count):
                send(Client(nobody.app, None), f"{number}-{turn}")
            return []
        client, found, after = Client(admin.app, ("admin", PASSWORD)), [], None
        deadline = time.monotonic() + slack(60)
        while len(found) < writers * count and time.monotonic() < deadline:
            page = ask(client, after, wait=1, limit=7)
            found += [one["context"][0] for one in page["events"]]
            after = page["next"]
        return found

    names = {f"{number}-{turn}" for number in range(writers) for turn in range(count)}
    followed = at_once(writers + 2, act)[writers:]
    by_id = [row.context[0] for row in Event.select().order_by(Event.id)]
    assert set(by_id) == names
    assert followed == [by_id, by_id]


def test_a_waiting_request_returns_soon_after_the_commit(nobody, admin):
    cursor = ask(admin, "now")["next"]
    with BackgroundThreads() as threads:
        waiting = threads.start(ask, admin, cursor, wait=60)
        send(nobody, "a")
        began = time.monotonic()
        assert len(waiting.result(timeout=60)["events"]) == 1
        assert time.monotonic() - began < slack(1)


def test_what_is_revoked_or_reduced_during_a_wait_is_not_returned(app, services, nobody, monkeypatch):
    who = services.accounts.add("bo", "operator", None, PASSWORD)
    token, text = tokens.add(who, "t", ["events:read"])
    client, feed = Client(nobody.app, ("any", text)), app.extensions["services"].changes
    cursor, read = ask(client, "now")["next"], feed.read
    send(nobody, "a")
    changed: list[Callable[[], object]] = []

    def read_and_change(*arguments):
        found = read(*arguments)
        if changed:
            changed.pop()()
        return found

    monkeypatch.setattr(feed, "read", read_and_change)
    assert len(ask(client, cursor, wait=60)["events"]) == 1
    changed.append(lambda: services.accounts.change(who, "analyst", ["ANOTHER"]))
    assert ask(client, cursor, wait=60)["events"] == []
    changed.append(lambda: tokens.revoke(token))
    services.accounts.change(who, "operator", None)
    assert client.get(address(cursor, wait=60)).status_code == 401


def test_a_wait_ends_without_an_event_after_its_time(admin, monkeypatch):
    monkeypatch.setattr(changes, "TICK_SECONDS", 0.01)
    cursor = ask(admin, "now")["next"]
    began = time.monotonic()
    assert ask(admin, cursor, wait=1) == {"events": [], "next": cursor}
    assert time.monotonic() - began >= 1


def test_a_wait_ends_at_once_if_the_process_stops(services, admin):
    stopping = threading.Event()
    read = partial(services.changes.read, SYSTEM, EventFilter(), 10, "now", 60, stopping)
    with BackgroundThreads() as threads:
        waiting = threads.start(read)
        stopping.set()
        assert waiting.result(timeout=slack(5)).events == []


@pytest.mark.settings(changes_waiters=2)
def test_one_more_than_may_wait_is_answered_at_once(nobody, admin):
    cursor = ask(admin, "now")["next"]
    with BackgroundThreads() as threads:
        waiting = [threads.start(ask, admin, cursor, wait=60) for _ in range(2)]
        feed = admin.app.extensions["services"].changes
        wait_until(lambda: not feed._free._value, 30)
        assert ask(admin, cursor, wait=60) == {"events": [], "next": cursor}
        assert not any(one.done() for one in waiting)
        send(nobody, "a")
        assert [len(one.result(timeout=60)["events"]) for one in waiting] == [1, 1]
    assert feed._free._value == 2


def test_all_waiting_requests_of_a_process_share_one_look_at_the_database(admin, monkeypatch):
    looks: list[float] = []
    inserting = database.obj.inserting
    monkeypatch.setattr(database.obj, "inserting", lambda: (looks.append(time.monotonic()), inserting())[1])
    monkeypatch.setattr(changes, "TICK_SECONDS", 0.2)
    tip = admin.app.extensions["services"].changes._tip

    def wait(number: int) -> None:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            tip.key(0.2)
            time.sleep(0.02)

    at_once(8, wait)
    assert 2 <= len(looks) <= 7


def test_a_waiting_request_does_not_read_events_of_other_codes_itself(nobody, admin, monkeypatch):
    monkeypatch.setattr(changes, "TICK_SECONDS", 0.05)
    reads: list[int] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda *args: (reads.append(1), read(*args))[1])
    cursor = ask(admin, "now")["next"]
    with BackgroundThreads() as threads:
        waiting = threads.start(ask, admin, cursor, wait=60, types="RARE")
        for turn in range(10):
            send(nobody, str(turn))
            time.sleep(0.05)
        assert not waiting.done()
        send(nobody, "rare", type="RARE")
        assert [one["context"] for one in waiting.result(timeout=60)["events"]] == [["rare"]]
    assert len(reads) <= 4
    monkeypatch.setattr(store, "read", read)
    page = ask(admin, cursor, wait=1, types="OTHER")
    assert follow(admin, page["next"]) == ([], page["next"]), "the cursor has advanced past everything that was read"


def test_a_database_that_does_not_respond_fails_the_request_and_nothing_is_skipped_afterwards(
    nobody, admin, monkeypatch
):
    send(nobody, "a")
    cursor = ask(admin)["next"]
    inserting = database.obj.inserting

    def fail() -> tuple[int, set[str]]:
        raise StoreUnavailable("away")

    monkeypatch.setattr(database.obj, "inserting", fail)
    assert admin.get(address(cursor)).status_code == 503
    monkeypatch.setattr(database.obj, "inserting", inserting)
    send(nobody, "b")
    assert follow(admin, cursor)[0] == ["b"]


@pytest.mark.both_databases
def test_a_cursor_survives_the_erasure_of_what_was_read(nobody, admin):
    send(nobody, "a", "b")
    _, cursor = follow(admin)
    assert erase_all() == 2
    send(nobody, "c")
    assert follow(admin, cursor)[0] == ["c"]


@pytest.mark.both_databases
def test_a_cursor_says_that_events_were_erased_before_they_were_read_and_how_to_go_on(nobody, admin):
    send(nobody, "a")
    cursor = ask(admin, limit=1)["next"]
    send(nobody, "old", timestamp=0)
    send(nobody, "b")
    assert erase_all(end=0) == 1
    answer = admin.get(address(cursor))
    assert (answer.status_code, root(answer)) == (410, "EVENT_CHANGES_GET_FAILED")
    resumed = answer.get_json()[0]["value"]["message"].rpartition("after=")[2].rstrip(".")
    assert follow(admin, resumed)[0] == ["b"]
    assert follow(admin)[0] == ["a", "b"], "a new follower misses nothing that is stored"


def test_an_erasure_concerns_only_followers_of_its_customer_and_product(nobody, admin, analyst):
    send(nobody, "a")
    cursors = {client: ask(client)["next"] for client in (admin, analyst)}
    send(nobody, "theirs", customer="FERNHILL")
    send(nobody, "b")
    assert erase_all(customer="FERNHILL") == 1
    assert follow(analyst, cursors[analyst])[0] == ["b"]
    assert admin.get(address(cursors[admin])).status_code == 410
    assert follow(admin, cursors[admin], customer="BARCHART")[0] == ["b"]


@pytest.mark.both_databases
def test_a_cursor_does_not_reveal_events_and_erasures_of_other_customers(nobody, analyst):
    send(nobody, "a")
    cursors = {after: ask(analyst, after)["next"] for after in (None, "now")}
    send(nobody, "theirs", "too", customer="FERNHILL")
    erase_all(customer="FERNHILL")
    send(nobody, "again", customer="FERNHILL")
    assert {after: ask(analyst, after)["next"] for after in (None, "now")} == cursors
    assert ask(analyst, cursors["now"])["next"] == cursors["now"]
    send(nobody, "b", type="OTHER")
    own = ask(analyst, cursors["now"], types="PORTFOLIO-APPLICATION-LOADED")
    assert own["events"] == []
    assert own["next"] != cursors["now"], "it advances over the user's other events, whose erasure it survives"


@pytest.mark.both_databases
def test_an_erasure_while_a_request_reads_is_not_missed(nobody, admin, in_turn):
    send(nobody, "a")
    cursor = ask(admin)["next"]
    send(nobody, "b", "c")
    in_turn(lambda: erase_all(start=0))
    assert admin.get(address(cursor)).status_code == 410


def test_an_old_erasure_does_not_end_a_new_follower(nobody, admin):
    send(nobody, "a", "b")
    send(nobody, "old", timestamp=0)
    send(nobody, "c")
    assert erase_all(end=0) == 1
    assert follow(admin, limit=1)[0] == ["a", "b", "c"]


def test_traces_of_erasures_do_not_accumulate(nobody, admin):
    for turn in range(5):
        send(nobody, str(turn))
        erase_all()
    assert ErasureTrace.select().count() == 1


def lose_events() -> None:
    """Remove all events so that their ids are assigned again, as after a restore or a failover."""
    database.execute_sql("DELETE FROM event")
    if database.has_one_writer:
        database.execute_sql("DELETE FROM sqlite_sequence WHERE name = 'event'")
    else:
        database.execute_sql("ALTER TABLE event ALTER COLUMN id RESTART WITH 1")


@pytest.mark.both_databases
@pytest.mark.parametrize("later", [0, 1, 3])
def test_a_cursor_says_that_the_database_lost_the_events_up_to_it(nobody, admin, later):
    send(nobody, "a", "b")
    _, cursor = follow(admin)
    lose_events()
    send(nobody, *map(str, range(later)))
    answer = admin.get(address(cursor))
    assert (answer.status_code, root(answer)) == (410, "EVENT_CHANGES_GET_FAILED")
    assert "restored" in answer.get_json()[0]["value"]["message"]
