"""`tally events rejected`: rejected events by id, and refused requests by UUID."""

from __future__ import annotations

import pytest

from tests.support.client import event

LENIENT = {"Prefer": "handling=lenient"}


@pytest.fixture
def refused(nobody, services) -> None:
    """Two rejected events, and a refused request with one valid and one invalid event."""
    nobody.post("/events", [event(timestamp=-1), event(product="")], headers=LENIENT)
    nobody.post("/events", [event(), event(timestamp=-2)])
    services.rejected.flush()


def test_they_are_listed_and_shown(refused, prints, succeeds, fails):
    listed = prints("events", "rejected", "list")
    assert len(listed) == 3
    one = next(one for one in listed if one["place"] == 1)
    assert prints("events", "rejected", "show", one["id"]) == one
    assert "timestamp is -1" in succeeds("events", "rejected", "show", one["id"])
    assert prints("events", "rejected", "list", "--limit", 1)[0] == listed[0]
    assert prints("events", "rejected", "list", "--before", listed[0]["id"]) == listed[1:]
    assert fails("events", "rejected", "show", 999).startswith("Error: There is no rejected event 999")


def test_they_are_filtered(refused, prints, succeeds, fails):
    def places(*options: object) -> list[tuple[int, str]]:
        return [(one["place"], one["field"]) for one in prints("events", "rejected", "list", *options)]

    assert places("--reason", "product-wrong") == [(2, "product")]
    assert places("--product", "PORTFOLIO", "--text", "IS -2") == [(2, "timestamp")]
    assert len(places("--since", "1h", "--customer", "BARCHART", "--origin", "127.0.0.1")) == 3
    assert places("--until", "1h") == []
    assert prints("events", "rejected", "list", "--requests", "--reason", "product-wrong") == []
    assert succeeds("events", "rejected", "list", "--type", "X") == "There are no matching rejected events.\n"
    assert "text has 201 characters" in fails("events", "rejected", "list", "--text", "x" * 201)


def test_a_refused_request_is_listed_shown_and_removed(refused, prints, succeeds):
    [request] = prints("events", "rejected", "list", "--requests")
    assert (request["events"], request["invalid"]) == (2, 1)
    assert '"timestamp": -2' in succeeds("events", "rejected", "show", request["uuid"])
    assert prints("events", "rejected", "remove", request["uuid"]) == {"events": 0, "requests": 1}
    assert len(prints("events", "rejected", "list")) == 2


def test_they_are_removed_by_id_all_or_none(refused, prints, fails, succeeds):
    ids = [one["id"] for one in prints("events", "rejected", "list")]
    assert fails("events", "rejected", "remove", ids[0], 999).startswith("Error: There is no rejected event 999")
    assert prints("events", "rejected", "remove", *ids[1:]) == {"events": 2, "requests": 0}
    assert [one["id"] for one in prints("events", "rejected", "list")] == ids[:1]


def test_they_are_sent_again_by_id(refused, tally, prints):
    [key] = [one["id"] for one in prints("events", "rejected", "list") if one["field"] == "product"]
    code, printed, said = tally("events", "rejected", "resend", key, "--json")
    assert (code, printed) == (3, '{"sent":0,"refused":1}\n')
    assert said.startswith(f"{key}: ")


def test_what_a_client_sent_is_printed_without_what_a_terminal_would_execute(nobody, services, succeeds, prints):
    nobody.post("/events", [event(context=["\x1b[2J"])])
    nobody.post("/events", b'{"customer": "\x1b]0;title\x07"', "application/x-ndjson", headers=LENIENT)
    services.rejected.flush()
    [one] = prints("events", "rejected", "list")
    assert "\x1b" in one["event"]
    for words in (("events", "rejected", "show", one["id"]), ("events", "list")):
        assert "\\x1b" in succeeds(*words)
        assert "\x1b" not in succeeds(*words)
