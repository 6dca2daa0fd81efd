"""What all bodies of a process take together is bounded, and given back whatever becomes of a request."""

from __future__ import annotations

import gzip
import json
import threading

import pytest

from app.api import body_budget
from app.api.body_budget import SMALL_BYTES, Budget, Share
from app.exceptions import Overloaded
from tests.support.client import event, root

DATABASE = "sqlite"  # bodies are counted before a database is asked

ROOM = 500_000
LARGE = json.dumps([event()] * 2_000).encode()


@pytest.fixture
def small(monkeypatch) -> None:
    """Budgets with room for one large body, and no patience."""
    monkeypatch.setattr(body_budget, "received", Budget(ROOM))
    monkeypatch.setattr(body_budget, "work", Budget(ROOM))
    monkeypatch.setattr(body_budget, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr("app.api.body.WAIT_SECONDS", 0.01)


def post(client, body: bytes, *, packed: bool = False):
    return client.post(
        "/events", gzip.compress(body) if packed else body, headers={"Content-Encoding": "gzip"} if packed else {}
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("budget", ["received", "work"])
def test_a_large_body_that_finds_no_room_is_told_to_come_again(nobody, services, small, packed, budget):
    getattr(body_budget, budget).acquire(ROOM - 10)
    answer = post(nobody, LARGE, packed=packed)
    assert (answer.status_code, root(answer)) == (503, "REQUEST_GENERAL_FAILURE")
    assert int(answer.headers["Retry-After"]) > 0
    assert services.ingest.count() == 0
    getattr(body_budget, budget).release(ROOM - 10)
    assert post(nobody, LARGE, packed=packed).status_code == 200


def test_a_small_one_needs_no_room(nobody, small):
    body_budget.received.acquire(ROOM)
    body_budget.work.acquire(ROOM)
    assert nobody.post("/events", [event()]).status_code == 200


def test_whatever_becomes_of_a_request_its_room_is_given_back(nobody, small):
    damaged = gzip.compress(LARGE)[:-3]
    for body, coding in [
        (LARGE, ""),
        (LARGE[:-1], ""),
        (LARGE, "zstd"),
        (gzip.compress(LARGE), "gzip"),
        (damaged, "gzip"),
    ]:
        nobody.post("/events", body, headers={"Content-Encoding": coding})
        assert (body_budget.received.held, body_budget.work.held) == (0, 0)


def test_who_waits_goes_on_when_another_is_done():
    budget = Budget(10)
    budget.acquire(8)
    threading.Timer(0.05, budget.release, [8]).start()
    budget.acquire(8, 20)
    with pytest.raises(Overloaded):
        budget.acquire(8)


def test_one_that_wants_more_than_there_is_takes_all_of_it_alone():
    budget = Budget(10)
    budget.acquire(100)
    with pytest.raises(Overloaded):
        budget.acquire(1)
    budget.release(100)
    budget.acquire(1)


def test_a_share_is_given_back_once():
    share = Share()
    share.receive(SMALL_BYTES)
    share.release()
    share.release()
    assert body_budget.received.held == 0
