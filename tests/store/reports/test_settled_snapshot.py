"""A settled snapshot waits for events that are being inserted, and does not delay other writers."""

from __future__ import annotations

import pytest

from app.exceptions import StoreUnavailable
from app.store.database import database
from app.store.models import Event
from tests.support.client import event
from tests.support.threads import BackgroundThreads

NOW = 1_600_000_000_000


def insert(kind: str) -> None:
    """Insert an event in a transaction that the caller ends."""
    row = ("A", "P", kind, None, NOW, [], 1, "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b", NOW)
    database.insert_encoded([database.encode_events([row])])


def test_without_events_the_snapshot_is_zero(app):
    assert database.settled_cut(1_000) == 0


def test_the_snapshot_is_the_last_event(nobody):
    nobody.send(event(), event())
    assert database.settled_cut(1_000) == Event.select().count() == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_snapshot_waits_for_an_uncommitted_lower_id_without_delaying_writers(app, nobody):
    with BackgroundThreads() as threads:
        database.begin_group()
        insert("HELD")
        threads.start(lambda: nobody.send(event())).result(timeout=30)  # has the higher id, and is committed first
        cut = threads.start(lambda: database.settled_cut(30_000))
        threads.start(lambda: nobody.send(event())).result(timeout=30)  # writers are not delayed meanwhile
        assert not cut.done()
        database.commit_group()
        assert cut.result(timeout=30) in (2, 3)  # the snapshot may have started after the third event


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_snapshot_times_out_while_a_transaction_keeps_inserting(app):
    with BackgroundThreads() as threads:
        database.begin_group()
        insert("HELD")
        with pytest.raises(StoreUnavailable):
            threads.start(lambda: database.settled_cut(50)).result(timeout=30)
        database.abandon_group()
