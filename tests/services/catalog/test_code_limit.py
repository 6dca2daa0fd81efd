"""MAX_CODES: beyond this number of codes, events with new codes are rejected and others are stored."""

from __future__ import annotations

import json
import time

import pytest

from app.exceptions import InputInvalid
from app.services import build
from app.services.events.importing import Source
from app.services.events.rejected import Origin
from app.store.catalog import catalog
from app.store.database import release
from app.store.events import erase
from app.store.events.filters import EventFilter
from app.store.models import Event
from tests.support.client import event, faults
from tests.support.outages import away
from tests.support.rows import fill_seen

pytestmark = pytest.mark.settings(max_codes=5)  # the customer, the product and three types

NEW = (
    'events[{place}].{field} is "{code}", a new code, and events have as many as MAX_CODES allows (5). '
    "Erase events of codes that nobody needs, or raise MAX_CODES."
)


@pytest.fixture
def full(nobody) -> None:
    nobody.send(*[event(type=f"T{number}") for number in range(3)])


def new_code_error(field: str, code: str, place: int = 0) -> tuple[str, str]:
    return ("REQUEST_PARAMETER_MALFORMED", NEW.format(place=place, field=field, code=code))


def test_an_event_with_a_new_code_is_rejected_and_recorded_while_known_codes_are_accepted(nobody, services, full):
    answer = nobody.post("/events", [event(type="T1"), event(type="T3", customer="OTHER")])
    assert answer.status_code == 400
    assert faults(answer) == [new_code_error("customer", "OTHER", 1), new_code_error("type", "T3", 1)]
    services.rejected.flush()
    assert services.rejected.by_field() == [("customer", 1)]
    assert len(nobody.send(*[event(type=f"T{number}") for number in range(3)])) == 3


def test_the_first_new_codes_of_a_lenient_batch_use_the_remaining_capacity(nobody):
    events = [event(type=f"T{number % 5}") for number in range(10)]
    answer = nobody.post("/events", events, headers={"Prefer": "handling=lenient"})
    assert [stored["type"] for stored in answer.get_json()] == ["T0", "T1", "T2", "T0", "T1", "T2"]
    assert answer.headers["X-Rejected-Events"] == "4"


def test_every_process_counts_the_codes_stored_by_others(nobody, services, settings, full):
    other = build(settings).ingest
    other.accept(json.dumps([event(type="T2")]).encode(), Origin("", ""))
    with pytest.raises(InputInvalid):
        other.accept(json.dumps([event(type="T3")]).encode(), Origin("", ""))
    release()


def test_a_code_of_the_catalog_is_accepted_even_if_no_event_had_it(nobody, services, full):
    services.catalog.put(json.dumps({"types": [{"code": "NAMED", "product": "PORTFOLIO"}]}).encode())
    release()
    assert nobody.send(event(type="NAMED"))


def test_erasing_all_events_of_a_code_frees_its_place(nobody, full, monkeypatch):
    sum(erase.erase(EventFilter("BARCHART", types=("T0",), snapshot_max_id=erase.counted_cut())))
    release()
    monkeypatch.setattr("app.services.catalog.code_limit.COUNTED_SECONDS", -1)
    nobody.app.extensions["services"].code_limit._counted_until = 0.0
    assert nobody.send(event(type="T3"))
    assert nobody.post("/events", [event(type="T4")]).status_code == 400


def test_no_event_is_rejected_for_a_new_code_while_the_database_is_unavailable(nobody, full, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "known_among", away)
        assert nobody.post("/events", [event(type="T3")]).status_code == 200


def test_the_limit_applies_to_an_imported_file(nobody, services, full, tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(json.dumps(event(type=f"T{number}")) for number in range(6)))
    with path.open("rb") as file:
        *_, progress = services.importing.run(Source(file, "events.ndjson"))
    assert (progress.events, progress.rejected) == (3, 3)
    assert Event.select().count() == 6


def test_two_hundred_thousand_codes_do_not_slow_requests_down(nobody):
    """The codes were stored before the limit was set."""
    fill_seen(200_000)
    nobody.send(event(type="T1"))
    began = time.monotonic()
    for number in range(1, 21):
        assert nobody.send(event(type=f"T{number}"))
        assert nobody.post("/events", [event(type=f"NEW{number}")]).status_code == 400
    assert time.monotonic() - began < 20, "forty requests: each new code looked up, the whole counted once a second"
