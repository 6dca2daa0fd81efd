"""`flask events resend`: rejected events are sent again unchanged, and each is stored at most once."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from app.exceptions import RejectedUnknown
from app.services.people.principal import SYSTEM
from app.store.events import rejected
from tests.support.client import event
from tests.support.rows import newest_events
from tests.support.threads import BackgroundThreads

strict = pytest.mark.settings(catalog_mode="strict")


@pytest.fixture
def send_invalid(nobody, services):
    """Return a function that sends invalid events and returns the ids of the rejected events, oldest first."""

    def send(*wrong: object) -> list[int]:
        nobody.post("/events", list(wrong), headers={"Prefer": "handling=lenient"})
        services.rejected.flush()
        return sorted(reject.id for reject in rejected.newest(len(wrong)))

    return send


def contexts() -> list[list]:
    return sorted(row.context for row in newest_events(1_000))


@strict
def test_events_that_are_valid_after_a_catalog_import_are_stored(send_invalid, flask, services):
    send_invalid(event(context=["1"]), event(customer="NOBODY"), event(timestamp=-1), event(context=["2"]))
    services.catalog.load_sample()
    result = flask("events", "resend", "--all", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 2, "refused": 2})
    assert contexts() == [["1"], ["2"]]
    assert sorted(reject.place for reject in rejected.newest(10)) == [2, 3]
    assert 'customer is "NOBODY", which is not known' in result.stderr
    assert "timestamp is -1" in result.stderr
    assert json.loads(flask("events", "resend", "--all", "--json").stdout) == {"sent": 0, "refused": 2}
    assert contexts() == [["1"], ["2"]]


@strict
def test_only_the_given_events_are_sent(send_invalid, succeeds, services):
    ids = send_invalid(*[event(context=[str(number)]) for number in range(4)])
    services.catalog.load_sample()
    assert succeeds("events", "resend", ids[1], ids[3], ids[1]) == "Sent 2; 0 are still rejected.\n"
    assert contexts() == [["1"], ["3"]]
    assert [reject.id for reject in rejected.newest(10)] == [ids[2], ids[0]]


def test_one_event_that_is_still_invalid_is_counted_in_the_singular(send_invalid, flask):
    send_invalid(event(timestamp=-1))
    assert flask("events", "resend", "--all").stdout == "Sent 0; 1 is still rejected.\n"


@strict
def test_hundreds_of_events_are_sent_in_pages(send_invalid, prints, services, monkeypatch):
    monkeypatch.setattr("app.services.events.resend.AT_ONCE", 30)
    send_invalid(*[event(context=[f"{number:03}"]) for number in range(100)])
    services.catalog.load_sample()
    assert prints("events", "resend", "--all") == {"sent": 100, "refused": 0}
    assert contexts() == [[f"{number:03}"] for number in range(100)]
    assert rejected.newest(1) == []


@strict
def test_an_event_is_stored_and_removed_in_one_transaction(send_invalid, prints, services, monkeypatch):
    send_invalid(event())
    services.catalog.load_sample()
    with monkeypatch.context() as patch:
        patch.setattr(rejected, "claim", lambda keys: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(services.resend.send_many(None))
    assert contexts() == []
    assert prints("events", "resend", "--all") == {"sent": 1, "refused": 0}
    assert len(contexts()) == 1
    assert rejected.newest(1) == []


def test_concurrent_resends_of_requests_and_events_store_each_event_once(nobody, services):
    known = [f"{number}-{place}" for number in range(6) for place in range(4)]
    services.catalog.strict = True
    services.catalog.load_sample()
    for number in range(6):
        codes = ["BARCHART", "NEW", "NEW", "BARCHART"]
        nobody.post(
            "/events", [event(customer=code, context=[f"{number}-{place}"]) for place, code in enumerate(codes)]
        )
    services.rejected.flush()
    services.catalog.strict = False
    ids = [reject.id for reject in rejected.newest(100)]
    uuids = [reject.uuid for reject in rejected.requests(100)]
    assert (len(ids), len(uuids)) == (12, 6)

    def send(keys: list) -> None:
        for key in keys:
            with suppress(RejectedUnknown):
                if isinstance(key, str):
                    services.resend.send_request(SYSTEM, key)
                elif reject := rejected.by_id(key):
                    services.resend.send(SYSTEM, key, reject.event)

    with BackgroundThreads() as threads:
        resends = [threads.start(send, keys) for keys in (ids, ids[::-1], uuids, uuids[::-1])]
    for thread in resends:
        thread.result()
    list(services.resend.send_many(None))
    assert contexts() == sorted([text] for text in known)


def test_events_of_a_filter_are_sent_with_their_timestamps_read(send_invalid, flask):
    send_invalid(*[event(timestamp="2026-11-23T10:57:00+01:00", customer=code) for code in "ABA"], event(timestamp="x"))
    result = flask("events", "resend", "--customer", "A", "--parse-timestamps", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"sent": 2, "refused": 0})
    assert {(row.customer, row.timestamp) for row in newest_events(10)} == {("A", 1_795_427_820_000)}
    result = flask("events", "resend", "--all", "--parse-timestamps", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 1, "refused": 1})
    assert len(rejected.newest(10)) == 1


def test_invalid_json_is_rejected_again(send_invalid, nobody, flask, services):
    nobody.post("/events", b'{"customer": \n', "application/x-ndjson")
    services.rejected.flush()
    result = flask("events", "resend", "--all", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 0, "refused": 1})
    services.rejected.flush()
    assert len(rejected.newest(10)) == 1


@pytest.fixture
def rejected_request(nobody, services) -> tuple[str, int]:
    """Send a request in which one event has an unknown customer, and return its UUID and the event's id."""
    services.catalog.load_sample()
    nobody.post("/events", [event(context=["1"]), event(customer="NEW", context=["2"])])
    services.rejected.flush()
    (reject,) = rejected.newest(1)
    return reject.request, reject.id


@strict
@pytest.mark.parametrize("selected", ["--all", "uuid", "id"])
def test_a_rejected_request_is_stored_completely_however_it_is_selected(
    rejected_request, flask, prints, services, selected
):
    argument = {"--all": "--all", "uuid": rejected_request[0], "id": rejected_request[1]}[selected]
    result = flask("events", "resend", argument, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 0, "refused": 1})
    assert contexts() == []
    services.catalog_editor.add(SYSTEM, "customers", {"code": "NEW", "description": ""})
    assert prints("events", "resend", argument) == {"sent": 2, "refused": 0}
    assert contexts() == [["1"], ["2"]]
    assert len({row.batch for row in newest_events(10)}) == 1
    assert (rejected.newest(1), rejected.requests(1)) == ([], [])


def test_without_rejected_events_nothing_is_sent(prints):
    assert prints("events", "resend", "--all") == {"sent": 0, "refused": 0}


def test_an_unknown_id_is_reported(fails):
    assert "There is no rejected event 7" in fails("events", "resend", 7)


@pytest.mark.parametrize(
    "arguments",
    [(), ("--all", 1), ("x",), ("0",), (1, "--type", "X"), ("--all", "--text", "x"), ("--parse-timestamps",)],
)
def test_a_usage_error_sends_nothing(send_invalid, flask, arguments):
    send_invalid(event(timestamp=-1))
    assert flask("events", "resend", *arguments).exit_code == 2
