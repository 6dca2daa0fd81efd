"""A move from SQLite to PostgreSQL while events arrive: whatever was answered 200 is in the new database, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from peewee import fn

from app.exceptions import BackupFailed, StoreUnavailable
from app.services.operations.bootstrap import prepare
from app.store import database as store
from app.store.backends import payloads
from app.store.models import Counted, Event, HourlyCount
from app.store.operations.postgres_rows import PostgresTarget
from app.store.step_size import Pace
from tests.backup.conftest import ODD_ITEMS, ODD_VERSIONS, count, installation, rows
from tests.support.client import Client, event
from tests.support.running import wait_until


@pytest.fixture
def database_url(sqlite_url) -> str:
    """SQLite: what is moved."""
    return sqlite_url


@pytest.fixture
def target(other_database) -> str:
    return other_database("postgresql")


def odd_events(mark: str) -> list[dict]:
    return [
        event(context=[mark, item, None], version=version) for item in ODD_ITEMS for version in (*ODD_VERSIONS, mark)
    ]


def marks() -> dict[str, int]:
    """How many events there are by the first item of their context."""
    found: dict[str, int] = {}
    for one in Event.select(Event.context).where(Event.context.is_null(False)):
        if one.context:
            found[one.context[0]] = found.get(one.context[0], 0) + 1
    return found


@pytest.mark.settings(spool=True, ingest_wait_seconds=2)
def test_events_sent_during_a_move_wait_in_the_spool_and_are_delivered_to_the_new_database(
    app, services, content, settings, target, redis_url, monkeypatch
):
    client, finish = Client(app, None), PostgresTarget.finish

    def finish_while_events_arrive(self, sequences):
        answer = client.post("/events", {"events": odd_events("during")}, headers={"Idempotency-Key": "during"})
        assert answer.status_code == 200
        assert client.post("/events", {"events": [event(context=["no key"])]}).status_code == 200
        finish(self, sequences)

    monkeypatch.setattr(PostgresTarget, "finish", finish_while_events_arrive)
    before = services.ingest.count()
    moved = services.move.run(target)
    assert moved.events == before
    repeat = client.post("/events", {"events": odd_events("during")}, headers={"Idempotency-Key": "during"})
    assert repeat.headers["Idempotency-Replayed"] == "true"
    store.release()
    with installation(settings.data_dir, target, redis_url, spool=True) as (new_app, new):
        wait_until(lambda: delivered(new), 5)
        assert delivered(new)  # once more: nothing is stored twice
        assert marks()["during"] == len(odd_events("during"))
        assert marks()["no key"] == 1
        stored = {(tuple(one.context[1:]), one.version) for one in Event.select() if one.context[:1] == ["during"]}
        sent = {(tuple(one["context"][1:]), one.get("version")) for one in odd_events("during")}
        assert stored == sent
        repeat = Client(new_app, None).post(
            "/events", {"events": odd_events("during")}, headers={"Idempotency-Key": "during"}
        )
        assert repeat.headers["Idempotency-Replayed"] == "true"
        assert new.verifier.database().problems == []


def delivered(services) -> bool:
    """Let the scheduler deliver the spool; whether it is empty. The old service releases its file after a second."""
    services.scheduler.run_all()
    store.release()
    return not services.spool.waiting()


@pytest.mark.settings(ingest_wait_seconds=1)
def test_a_slice_that_was_being_counted_is_counted_once_in_the_new_database(
    app, services, content, settings, target, redis_url, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("app.store.events.count_slices.STEPS", [Pace(1, 1)] * 3)
        patch.setattr("app.store.events.count_slices.pause", lambda began: 1 / 0)
        Client(app, None).send(event(type="A"), event(type="B"), event(type="C"))
        with pytest.raises(ZeroDivisionError):
            count()
    stored = services.ingest.count()
    assert 0 < HourlyCount.select(fn.sum(HourlyCount.number)).scalar() < stored
    services.move.run(target)
    store.release()
    with installation(settings.data_dir, target, redis_url) as (_, new):
        count()
        assert HourlyCount.select(fn.sum(HourlyCount.number)).scalar() == stored
        assert (Counted.get().total - Counted.get().erased, Counted.get().slice_end) == (stored, None)
        assert new.verifier.database().problems == []


def test_without_a_spool_events_are_refused_during_a_move_and_pages_can_be_read(app, services, content, target):
    services.move.run(target)
    answer = Client(app, None).post("/events", {"events": [event(context=["refused"])]})
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    ready = Client(app, None).get("/health/ready")
    assert ready.status_code == 503
    assert any("is being moved, or was moved" in reason for reason in ready.get_json()["reasons"])
    admin = Client(app, ("admin", "correct horse"))
    assert admin.get("/events").status_code == 200
    assert "refused" not in marks()


def test_a_moved_database_cannot_be_started_by_mistake(services, content, target):
    services.move.run(target)
    with pytest.raises(StoreUnavailable, match="was moved, to PostgreSQL: .+set DATABASE_URL, or run: .+move --cancel"):
        prepare(services, "correct horse")


def test_a_move_can_be_cancelled_and_begun_again(app, services, content, settings, target, monkeypatch):
    before = rows(settings.database)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(PostgresTarget, "finish", raise_runtime_error)
        services.move.run(target)
    services.move.cancel()
    assert services.move.state() is None
    assert rows(settings.database) == before
    Client(app, None).send(event(context=["between"]))
    store.release()
    moved = services.move.run(target)  # from the beginning, as the source has changed
    assert (moved.events, moved.resumed) == (len(before["event"]) + 1, 0)
    assert rows(target) == rows(settings.database)


def raise_runtime_error(*args: object) -> None:
    raise RuntimeError


def test_an_interrupted_move_resumes_after_the_last_copied_event(services, content, target, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(PostgresTarget, "finish", raise_runtime_error)
        services.move.run(target)
    moved = services.move.run(target)
    assert moved.resumed == moved.events > 0
    assert services.move.run(target).resumed == moved.events  # it has ended already


def test_a_copy_that_differs_is_never_seen(services, content, settings, target, monkeypatch):
    def lose_one(self, table, blocks):
        add(self, table, blocks)
        self._run("DELETE FROM event WHERE id = (SELECT min(id) FROM event)")

    add = PostgresTarget.add
    with monkeypatch.context() as patch:
        patch.setattr(PostgresTarget, "add", lose_one)
        with pytest.raises(BackupFailed, match="The copy differs.+\n.+ events expected, .+ found"):
            services.move.run(target)
    with installation(settings.data_dir, target, settings.redis_url):
        assert store.migrations()[0][1] is False  # nothing is there
    store.open_database(settings.database)
    assert services.move.run(target).events == services.ingest.count()


@pytest.mark.parametrize("url", ["sqlite:///other.db", "mysql://host/name", "nonsense"])
def test_only_postgresql_can_be_the_target(services, content, url):
    with pytest.raises(BackupFailed, match="--to: name a PostgreSQL database"):
        services.move.run(url)
    assert services.move.state() is None


def test_a_target_with_data_is_refused_and_the_service_goes_on(services, content, settings, target, redis_url):
    with installation(settings.data_dir, target, redis_url) as (_, new):
        prepare(new, "correct horse")
    store.open_database(settings.database)
    with pytest.raises(BackupFailed, match=r"--to: the database has data already \(table account\)"):
        services.move.run(target)
    assert services.move.state() is None


def test_a_target_that_cannot_be_reached_changes_nothing(services, content):
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        services.move.run("postgresql://127.0.0.1:1/nothing")
    assert services.move.state() is None


def test_postgresql_is_not_moved(postgres_url, redis_url, tmp_path):
    with installation(tmp_path, postgres_url, redis_url) as (_, services):
        with pytest.raises(BackupFailed, match="only a SQLite database can be moved"):
            services.move.run("postgresql://host/name")
        with pytest.raises(BackupFailed, match="only a SQLite database"):
            services.move.cancel()


def test_to_cancel_what_has_not_begun_is_an_error(services):
    with pytest.raises(BackupFailed, match="No move has begun"):
        services.move.cancel()


@pytest.fixture
def encoded(sqlite_url, postgres_url) -> Callable[[str], bytes]:
    """Spooled events in the form of a database."""
    rows = [
        ("a\\b", "[p]", "t", version, 7, [item, None, item], 1, "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b", 8)
        for item in ODD_ITEMS
        for version in ODD_VERSIONS
    ]

    def encode(url: str) -> bytes:
        store.open_database(url)
        return store.database.dump_payload(store.database.encode_events(rows))

    return encode


def test_a_spool_is_read_in_the_form_of_either_database(encoded, sqlite_url, postgres_url):
    from_sqlite, from_postgres = encoded(sqlite_url), encoded(postgres_url)
    assert (payloads.is_postgres(from_sqlite), payloads.is_postgres(from_postgres)) == (False, True)
    assert store.database.load_payload(from_sqlite) == from_postgres
    assert store.database.load_payload(from_postgres) == from_postgres
    store.open_database(sqlite_url)
    assert [tuple(row) for row in store.database.load_payload(from_postgres)] == [
        tuple(row) for row in store.database.load_payload(from_sqlite)
    ]
