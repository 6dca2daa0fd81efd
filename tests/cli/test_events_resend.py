"""`flask events resend`: rejected events again as they are, each stored once at most."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from app.exceptions import RejectedUnknown
from app.services.people.principal import SYSTEM
from app.store.events import rejected, select
from tests.support.client import event
from tests.support.threads import Aside

strict = pytest.mark.settings(catalog_mode="strict")


@pytest.fixture
def refuse(nobody, services):
    """Send events of which each is refused; their ids, oldest first."""

    def send(*wrong: object) -> list[int]:
        nobody.post("/events", list(wrong), headers={"Prefer": "handling=lenient"})
        services.rejected.flush()
        return sorted(one.id for one in rejected.newest(len(wrong)))

    return send


def contexts() -> list[list]:
    return sorted(row.context for row in select.newest(1_000))


@strict
def test_what_passes_after_a_catalog_import_is_stored(refuse, flask, services):
    refuse(event(context=["1"]), event(customer="NOBODY"), event(timestamp=-1), event(context=["2"]))
    services.catalog.load_sample()
    result = flask("events", "resend", "--all", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 2, "refused": 2})
    assert contexts() == [["1"], ["2"]]
    assert sorted(one.place for one in rejected.newest(10)) == [2, 3]
    assert 'customer is "NOBODY", which is not known' in result.stderr
    assert "timestamp is -1" in result.stderr
    assert json.loads(flask("events", "resend", "--all", "--json").stdout) == {"sent": 0, "refused": 2}
    assert contexts() == [["1"], ["2"]]


@strict
def test_only_those_that_are_named_are_sent(refuse, succeeds, services):
    ids = refuse(*[event(context=[str(number)]) for number in range(4)])
    services.catalog.load_sample()
    assert succeeds("events", "resend", ids[1], ids[3], ids[1]) == "Sent 2; 0 are still rejected.\n"
    assert contexts() == [["1"], ["3"]]
    assert [one.id for one in rejected.newest(10)] == [ids[2], ids[0]]


@strict
def test_hundreds_are_sent_page_by_page(refuse, prints, services, monkeypatch):
    monkeypatch.setattr("app.services.events.resend.AT_ONCE", 30)
    refuse(*[event(context=[f"{number:03}"]) for number in range(100)])
    services.catalog.load_sample()
    assert prints("events", "resend", "--all") == {"sent": 100, "refused": 0}
    assert contexts() == [[f"{number:03}"] for number in range(100)]
    assert rejected.newest(1) == []


@strict
def test_one_is_stored_and_removed_in_one_transaction(refuse, prints, services, monkeypatch):
    refuse(event())
    services.catalog.load_sample()
    with monkeypatch.context() as patch:
        patch.setattr(rejected, "claim", lambda keys: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(services.resend.send_as_they_are(None))
    assert contexts() == []
    assert prints("events", "resend", "--all") == {"sent": 1, "refused": 0}
    assert len(contexts()) == 1
    assert rejected.newest(1) == []


def test_requests_and_their_events_sent_by_many_at_once_are_stored_once(nobody, services):
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
    ids = [one.id for one in rejected.newest(100)]
    whole = [one.uuid for one in rejected.requests(100)]
    assert (len(ids), len(whole)) == (12, 6)

    def send(keys: list) -> None:
        for key in keys:
            with suppress(RejectedUnknown):
                if isinstance(key, str):
                    services.resend.send_request(SYSTEM, key)
                elif one := rejected.by_id(key):
                    services.resend.send(SYSTEM, key, one.event)

    with Aside() as threads:
        done = [threads.start(send, keys) for keys in (ids, ids[::-1], whole, whole[::-1])]
    for thread in done:
        thread.result()
    list(services.resend.send_as_they_are(None))
    assert contexts() == sorted([text] for text in known)


def test_what_is_not_json_is_still_refused(refuse, nobody, flask, services):
    nobody.post("/events", b'{"customer": \n', "application/x-ndjson")
    services.rejected.flush()
    result = flask("events", "resend", "--all", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 0, "refused": 1})
    services.rejected.flush()
    assert len(rejected.newest(10)) == 1


@pytest.fixture
def refused(nobody, services) -> tuple[str, int]:
    """A request whose only invalid event is of a customer that is not known; its UUID, and the event's id."""
    services.catalog.load_sample()
    nobody.post("/events", [event(context=["1"]), event(customer="NEW", context=["2"])])
    services.rejected.flush()
    (one,) = rejected.newest(1)
    return one.request, one.id


@strict
@pytest.mark.parametrize("named", ["--all", "uuid", "id"])
def test_a_refused_request_is_stored_whole_however_it_is_named(refused, flask, prints, services, named):
    argument = {"--all": "--all", "uuid": refused[0], "id": refused[1]}[named]
    result = flask("events", "resend", argument, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, {"sent": 0, "refused": 1})
    assert contexts() == []
    services.catalog_editor.add(SYSTEM, "customers", {"code": "NEW", "description": ""})
    assert prints("events", "resend", argument) == {"sent": 2, "refused": 0}
    assert contexts() == [["1"], ["2"]]
    assert len({row.batch for row in select.newest(10)}) == 1
    assert (rejected.newest(1), rejected.requests(1)) == ([], [])


def test_where_there_are_none_nothing_is_sent(prints):
    assert prints("events", "resend", "--all") == {"sent": 0, "refused": 0}


def test_one_that_is_not_there_is_said(fails):
    assert "There is no rejected event 7" in fails("events", "resend", 7)


@pytest.mark.parametrize("arguments", [(), ("--all", 1), ("x",), ("0",)])
def test_a_wrong_call_sends_nothing(refuse, flask, arguments):
    refuse(event(timestamp=-1))
    assert flask("events", "resend", *arguments).exit_code == 2
