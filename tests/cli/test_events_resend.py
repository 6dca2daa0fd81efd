"""`flask events resend`: rejected events again as they are, each stored once at most."""

from __future__ import annotations

import json

import pytest

from app.services.principal import SYSTEM
from app.store import events, rejected
from tests.support.client import event

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
    return sorted(row.context for row in events.newest(1_000))


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
    assert succeeds("events", "resend", ids[1], ids[3], ids[1]) == "Sent 2; 0 are still refused.\n"
    assert contexts() == [["1"], ["3"]]
    assert [one.id for one in rejected.newest(10)] == [ids[2], ids[0]]


@strict
def test_hundreds_are_sent_page_by_page(refuse, prints, services, monkeypatch):
    monkeypatch.setattr("app.services.resending.AT_ONCE", 30)
    refuse(*[event(context=[f"{number:03}"]) for number in range(100)])
    services.catalog.load_sample()
    assert prints("events", "resend", "--all") == {"sent": 100, "refused": 0}
    assert contexts() == [[f"{number:03}"] for number in range(100)]
    assert rejected.newest(1) == []


@strict
def test_one_that_was_stored_before_it_could_be_removed_is_stored_once(refuse, prints, services, monkeypatch):
    refuse(event())
    services.catalog.load_sample()
    with monkeypatch.context() as patch:
        patch.setattr(rejected, "remove", lambda keys: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(services.resending.send_as_they_are(None))
    assert len(contexts()) == 1
    assert prints("events", "resend", "--all") == {"sent": 1, "refused": 0}
    assert len(contexts()) == 1
    assert rejected.newest(1) == []


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
    services.cataloguing.add(SYSTEM, "customers", {"code": "NEW", "description": ""})
    assert prints("events", "resend", argument) == {"sent": 2, "refused": 0}
    assert contexts() == [["1"], ["2"]]
    assert len({row.batch for row in events.newest(10)}) == 1
    assert (rejected.newest(1), rejected.requests(1)) == ([], [])


def test_where_there_are_none_nothing_is_sent(prints):
    assert prints("events", "resend", "--all") == {"sent": 0, "refused": 0}


def test_one_that_is_not_there_is_said(fails):
    assert "There is no rejected event 7" in fails("events", "resend", 7)


@pytest.mark.parametrize("arguments", [(), ("--all", 1), ("x",), ("0",)])
def test_a_wrong_call_sends_nothing(refuse, flask, arguments):
    refuse(event(timestamp=-1))
    assert flask("events", "resend", *arguments).exit_code == 2
