"""`Idempotency-Key` and `Prefer: handling=lenient` on `POST /events`, to the letter of the contract."""

from __future__ import annotations

import json

import pytest

from app.store.events import rejected, select
from tests.support.client import event, faults, root

LENIENT = {"Prefer": "handling=lenient"}
MIXED = [event(context=["first"]), event(timestamp=-1), {"customer": 5}, event(context=["fourth"])]


def post(client, body: object, **headers: str):
    return client.post("/events", body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def sequences() -> list[int]:
    return [row.sequence for row in reversed(select.newest(100))]


def kept(services) -> list:
    """The rejected events, oldest first."""
    services.rejected.flush()
    return rejected.newest(100)[::-1]


def test_a_repeat_says_that_it_is_one_and_is_the_same(nobody):
    first, second = (post(nobody, [event(), event()], Idempotency_Key="k 1") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.get_data() == first.get_data()
    assert second.headers["Content-Type"] == "application/json"
    assert sequences() == [1, 2]


def test_another_body_is_422(nobody):
    post(nobody, [event()], Idempotency_Key="k")
    answer = post(nobody, [event(), event()], Idempotency_Key="k")
    assert (answer.status_code, root(answer)) == (422, "REQUEST_KEY_REUSED")
    assert answer.headers["Content-Type"] == "application/json"
    assert sequences() == [1]


@pytest.mark.parametrize("key", ["x", "~" * 255, " !\"#'()*,/:;<=>?@[]{}|", "0"])
def test_a_key_has_1_to_255_printable_characters(nobody, key):
    answers = [nobody.post("/events", [event()], environ_overrides={"HTTP_IDEMPOTENCY_KEY": key}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].get_data() == answers[1].get_data()


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x01", "\x7f", "\t", "é", "\x80"])
def test_what_is_no_key_is_400_and_stores_nothing(nobody, key):
    answer = nobody.post("/events", [event()], environ_overrides={"HTTP_IDEMPOTENCY_KEY": key})
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    ((_, message),) = faults(answer)
    assert message.startswith(f"Idempotency-Key has {len(key)} characters; it must have 1 to 255")
    assert sequences() == []


def test_lenient_stores_the_valid_ones_under_their_places(nobody, services):
    answer = post(nobody, MIXED, **LENIENT)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "handling=lenient"
    assert answer.headers["X-Rejected-Events"] == "2"
    told = answer.get_json()
    assert [(one["context"], one["sequence"]) for one in told] == [(["first"], 1), (["fourth"], 4)]
    assert len({one["batch"] for one in told}) == 1
    assert sequences() == [1, 4]
    assert [(one.place, one.field) for one in kept(services)] == [(2, "timestamp"), (3, "customer")]


@pytest.mark.parametrize(("body", "number"), [([event()], "0"), ([{}, {}], "2"), ([], "0")])
def test_lenient_says_so_whatever_was_sent(nobody, body, number):
    answer = post(nobody, body, **LENIENT)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "handling=lenient"
    assert answer.headers["X-Rejected-Events"] == number


def test_a_lenient_repeat_has_the_same_headers_too(nobody, services):
    first, second = (post(nobody, MIXED, Idempotency_Key="k", **LENIENT) for _ in range(2))
    assert first.get_data() == second.get_data()
    assert second.headers["Idempotency-Replayed"] == "true"
    for answer in (first, second):
        assert answer.headers["Preference-Applied"] == "handling=lenient"
        assert answer.headers["X-Rejected-Events"] == "2"
    assert len(kept(services)) == 2


@pytest.mark.parametrize(
    "value", ["handling=lenient", 'Handling="lenient"', "respond-async, handling=lenient", "handling = lenient ; x=1"]
)
def test_the_preference_is_understood_in_every_spelling(nobody, value):
    assert post(nobody, [{}], Prefer=value).headers["Preference-Applied"] == "handling=lenient"


@pytest.mark.parametrize(
    "value",
    [
        "handling=strict",
        "handling=lenientish",
        "mishandling=lenient",
        "lenient",
        "",
        'note="x, handling=lenient"',
        "note; handling=lenient",
        'note="',
    ],
)
def test_any_other_preference_is_passed_over(nobody, value):
    answer = post(nobody, [{}], Prefer=value)
    assert answer.status_code == 400
    assert "Preference-Applied" not in answer.headers
    assert "X-Rejected-Events" not in answer.headers


def test_strict_is_all_or_nothing_and_names_every_invalid_event(nobody, services):
    answer = post(nobody, MIXED)
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    assert {message.split(".")[0] for _, message in faults(answer)} == {"events[1]", "events[2]"}
    assert sequences() == []
    assert [one.place for one in kept(services)] == [2, 3]


@pytest.mark.parametrize("headers", [{}, LENIENT], ids=["strict", "lenient"])
def test_an_invalid_event_is_kept_whole_with_its_numbers_as_they_were_sent(nobody, services, headers):
    sent = (
        '{"customer":"BARCHART","own":{"deep":[1e400,-0.0,12345678901234567890123]},'
        '"timestamp":1568381886060.50,"context":["é","\\u2028",1.10]}'
    )
    answer = nobody.post(
        "/events",
        f'{{"events":[{sent}]}}'.encode(),
        headers={"X-Request-ID": "mine-1"} | headers,
        environ_overrides={"REMOTE_ADDR": "2001:db8:1:2:3::4"},
    )
    assert answer.headers["X-Request-ID"] == "mine-1"
    (one,) = kept(services)
    assert one.event == sent.replace("\\u2028", "\u2028")
    assert (one.address, one.request_id, one.place, one.customer) == ("2001:db8:1::/48", "mine-1", 1, "BARCHART")
    assert one.reasons == [
        "events[0].product is missing; it must be a string of 1 to 128 characters without control characters.",
        "events[0].type is missing; it must be a string of 1 to 128 characters without control characters.",
        "events[0].timestamp is 1568381886060.50; it must be a whole number of milliseconds from 0 to 253402300799999.",
    ]


def test_a_broken_line_is_kept_as_it_came(nobody, services):
    body = json.dumps(event()).encode() + b'\n{"customer": \n'
    answer = nobody.post("/events", body, "application/x-ndjson", headers=LENIENT)
    assert (answer.status_code, answer.headers["X-Rejected-Events"]) == (200, "1")
    (one,) = kept(services)
    assert (one.place, one.event, one.field) == (2, '{"customer": ', "")


def test_what_is_not_json_at_all_is_refused_in_either_mode(nobody, services):
    for headers in ({}, LENIENT):
        answer = nobody.post("/events", b'{"events": [', headers=headers)
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert "Preference-Applied" not in answer.headers
    assert kept(services) == []
