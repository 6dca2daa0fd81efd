"""Whoever counts events waits for those that are being inserted, and nobody waits for whoever counts."""

from __future__ import annotations

import pytest

from app.exceptions import StoreUnavailable
from app.store.database import database
from app.store.models import Event
from tests.support.client import event
from tests.support.threads import Aside

NOW = 1_600_000_000_000


def insert(kind: str) -> None:
    """One event, in a transaction that somebody else ends."""
    row = ("A", "P", kind, None, NOW, [], 1, "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b", NOW)
    database.insert_encoded([database.encode_events([row])])


def test_without_an_event_it_is_before_every_event(app):
    assert database.settled_cut(1_000) == 0


def test_it_is_the_last_event(nobody):
    nobody.send(event(), event())
    assert database.settled_cut(1_000) == Event.select().count() == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_lower_id_that_is_not_committed_yet_is_waited_for_and_others_go_on(app, nobody):
    with Aside() as aside:
        database.begin_group()
        insert("HELD")
        aside.start(lambda: nobody.send(event())).result(timeout=30)  # has the higher id, and is committed first
        cut = aside.start(lambda: database.settled_cut(30_000))
        aside.start(lambda: nobody.send(event())).result(timeout=30)  # meanwhile nobody is held back
        assert not cut.done()
        database.commit_group()
        assert cut.result(timeout=30) in (2, 3)  # it may have begun behind the third


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_it_gives_up_on_one_that_goes_on_inserting(app):
    with Aside() as aside:
        database.begin_group()
        insert("HELD")
        with pytest.raises(StoreUnavailable):
            aside.start(lambda: database.settled_cut(50)).result(timeout=30)
        database.abandon_group()
