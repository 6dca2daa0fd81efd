"""Upper bounds for the cost of a request's events: memory, and processor time relative to ordinary events."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable

import pytest

from app.exceptions import InputInvalid
from app.schemas.batches import split_body
from app.services.events.rejected import Origin
from app.store.catalog import catalog
from app.store.database import release, transaction
from tests.support.client import event, root

DATABASE = "sqlite"  # SQLite works in the same process, so its time counts

EVENTS = 10_000
MOST_TIMES = 5  # times the cost of an ordinary event; measured: 3, and 8 with a slow path for new codes
EVENT_BYTES = 400  # bytes of a parsed event; measured: 320, and 650 if all lines are held and codes are not shared
SIGHTING_BYTES = 60  # bytes beside the sighting itself; measured: 13, and 220 with a copy of all rows


def make_batch(items: list[dict], *, lines: bool = False) -> bytes:
    texts = [json.dumps(item) for item in items]
    return ("\n".join(texts) if lines else f"[{','.join(texts)}]").encode()


ROUNDS = 3  # the cheapest of them counts, because other programs disturb single measurements
HONEST = [event(type=f"T{number % 30}", timestamp=number) for number in range(EVENTS)]
SHAPES: dict[str, Callable[[int], list[dict]]] = {
    "ordinary": lambda turn: HONEST,
    "an unknown key": lambda turn: [event(timestamp=number, unknown=1) for number in range(EVENTS)],
    "invalid": lambda turn: [event(timestamp=-1)] * EVENTS,
    "new types": lambda turn: [event(type=f"N{turn}-{number}") for number in range(EVENTS)],
    "new combinations": lambda turn: [
        event(customer=f"C{number % 7}", product=f"P{turn}-{number % 77}", type=f"D{number % 1009}")
        for number in range(EVENTS)
    ],
}


@pytest.mark.settings(max_codes=1_000_000)
def test_no_shape_of_events_costs_many_times_as_much_as_ordinary_events(services):
    """Each new code once cost 20 microseconds for its lookup and insert."""

    def cost(shape: str, turn: int) -> float:
        body, began = make_batch(SHAPES[shape](turn)), time.process_time()
        try:
            services.ingest.accept(body, Origin("", ""))
        except InputInvalid:
            assert shape == "invalid"
        return time.process_time() - began

    times = {shape: min(cost(shape, turn) for turn in range(ROUNDS)) for shape in SHAPES}
    assert max(times.values()) < MOST_TIMES * times["ordinary"], times


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
