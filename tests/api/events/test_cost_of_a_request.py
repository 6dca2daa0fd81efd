"""Upper bounds for the cost of a request's events: memory, and statements."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter

import pytest

from app.schemas.batches import split_body
from app.services.events.rejected import Origin
from app.store.catalog import catalog
from app.store.database import database, release, transaction
from tests.support.client import event, root

DATABASE = "sqlite"

EVENTS = 10_000
EVENT_BYTES = 400  # bytes of a parsed event; measured: 320, and 650 if all lines are held and codes are not shared
SIGHTING_BYTES = 60  # bytes beside the sighting itself; measured: 13, and 220 with a copy of all rows


def make_batch(items: list[dict], *, lines: bool = False) -> bytes:
    texts = [json.dumps(item) for item in items]
    return ("\n".join(texts) if lines else f"[{','.join(texts)}]").encode()


HONEST = [event(type=f"T{number % 30}", timestamp=number) for number in range(EVENTS)]


@pytest.mark.settings(max_codes=1_000_000)
def test_new_codes_cost_no_statement_each(services, monkeypatch):
    """`python -m bench.request_cost` shows the time, which was 20 microseconds a code with a statement each."""
    executed: Counter[int] = Counter()
    execute = database.obj.execute_sql

    def counting(*args: object, **kwargs: object) -> object:
        executed[number] += 1
        return execute(*args, **kwargs)

    monkeypatch.setattr(database.obj, "execute_sql", counting)
    for number in (100, EVENTS):
        new = [event(customer=f"C{one % 7}", product=f"P{one % 77}", type=f"N{number}-{one}") for one in range(number)]
        services.ingest.accept(make_batch(new), Origin("", ""))
    assert 0 < executed[100] <= executed[EVENTS] < executed[100] + EVENTS / 100


@pytest.mark.parametrize("lines", [False, True])
def test_parsing_a_large_batch_takes_little_memory_per_event(lines):
    body = make_batch(HONEST, lines=lines)
    tracemalloc.start()
    try:
        batch = split_body(body, EVENTS, lines=lines)
        assert tracemalloc.get_traced_memory()[1] / EVENTS < EVENT_BYTES
    finally:
        tracemalloc.stop()
    assert len(batch.events) == EVENTS


def test_very_many_new_combinations_are_recorded_in_little_memory(app):
    sightings = {("C", "P", f"T{number}", 0) for number in range(EVENTS)}
    tracemalloc.start()
    try:
        with transaction():
            catalog.note_seen(sightings, 0)
        assert tracemalloc.get_traced_memory()[1] / EVENTS < SIGHTING_BYTES
    finally:
        tracemalloc.stop()
        release()


def test_a_request_with_too_many_different_codes_is_too_large(nobody, services, monkeypatch):
    monkeypatch.setattr("app.services.catalog.code_limit.MAX_LOOKED_UP", 4)
    events = [event(type=f"T{number}") for number in range(3)]
    answer = nobody.post("/events", events)
    assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")
    expected = "events has more than 4 different customers, products and types; send them in several requests."
    assert answer.get_json()[0]["value"]["message"] == expected
    assert services.ingest.count() == 0
    assert nobody.post("/events", events[:2]).status_code == 200


@pytest.mark.settings(max_codes=5)
def test_errors_explain_only_the_first_events_beyond_the_ceiling_of_codes(nobody, monkeypatch):
    monkeypatch.setattr("app.services.catalog.code_limit.MAX_EXPLAINED", 2)
    answer = nobody.post("/events", [event(type=f"T{number}") for number in range(6)])
    messages = [child["value"]["message"] for child in answer.get_json()[0]["children"]]
    assert [message.split(",")[0] for message in messages[:2]] == ['events[3].type is "T3"', 'events[4].type is "T4"']
    assert messages[2] == "events[5] is invalid; of a request the first 2,000 are explained."
