"""`Idempotency-Key` and `Prefer: handling=lenient` on `POST /events`, exactly as the contract defines them."""

from __future__ import annotations

import json

import pytest

from app.store.events import rejected
from tests.support.client import event, faults, root
from tests.support.rows import newest_events

LENIENT = {"Prefer": "handling=lenient"}
MIXED = [event(context=["first"]), event(timestamp=-1), {"customer": 5}, event(context=["fourth"])]


def post(client, body: object, **headers: str):
    return client.post("/events", body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def sequences() -> list[int]:
    return [row.sequence for row in reversed(newest_events(100))]


def stored_rejects(services) -> list:
    """Return the rejected events, oldest first."""
    services.rejected.flush()
    return rejected.newest(100)[::-1]


def test_a_replay_has_the_same_response_and_a_header(nobody):
    first, second = (post(nobody, [event(), event()], Idempotency_Key="k 1") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.get_data() == first.get_data()
    assert second.headers["Content-Type"] == "application/json"
    assert sequences() == [1, 2]


def test_a_key_with_another_body_is_422(nobody):
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
def test_an_invalid_key_is_400_and_stores_nothing(nobody, key):
    answer = nobody.post("/events", [event()], environ_overrides={"HTTP_IDEMPOTENCY_KEY": key})
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    ((_, message),) = faults(answer)
    assert message.startswith(f"Idempotency-Key has {len(key)} characters; it must have 1 to 255")
    assert sequences() == []


def test_lenient_mode_stores_the_valid_events_with_their_positions_as_sequence(nobody, services):
    answer = post(nobody, MIXED, **LENIENT)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "handling=lenient"
    assert answer.headers["X-Rejected-Events"] == "2"
    accepted = answer.get_json()
    assert [(answered["context"], answered["sequence"]) for answered in accepted] == [(["first"], 1), (["fourth"], 4)]
    assert len({answered["batch"] for answered in accepted}) == 1
    assert sequences() == [1, 4]
    assert [(reject.place, reject.field) for reject in stored_rejects(services)] == [(2, "timestamp"), (3, "customer")]


@pytest.mark.parametrize(("body", "number"), [([event()], "0"), ([{}, {}], "2"), ([], "0")])
def test_lenient_mode_is_confirmed_in_every_response(nobody, body, number):
    answer = post(nobody, body, **LENIENT)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "handling=lenient"
    assert answer.headers["X-Rejected-Events"] == number


def test_a_lenient_replay_has_the_same_headers(nobody, services):
    first, second = (post(nobody, MIXED, Idempotency_Key="k", **LENIENT) for _ in range(2))
    assert first.get_data() == second.get_data()
    assert second.headers["Idempotency-Replayed"] == "true"
    for answer in (first, second):
        assert answer.headers["Preference-Applied"] == "handling=lenient"
        assert answer.headers["X-Rejected-Events"] == "2"
    assert len(stored_rejects(services)) == 2


@pytest.mark.parametrize(
    "value", ["handling=lenient", 'Handling="lenient"', "respond-async, handling=lenient", "handling = lenient ; x=1"]
)
def test_the_preference_is_recognized_in_every_spelling(nobody, value):
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
def test_other_preferences_are_ignored(nobody, value):
    answer = post(nobody, [{}], Prefer=value)
    assert answer.status_code == 400
    assert "Preference-Applied" not in answer.headers
    assert "X-Rejected-Events" not in answer.headers


def test_strict_mode_is_all_or_nothing_and_names_every_invalid_event(nobody, services):
    answer = post(nobody, MIXED)
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    assert {message.split(".")[0] for _, message in faults(answer)} == {"events[1]", "events[2]"}
    assert sequences() == []
    assert [reject.place for reject in stored_rejects(services)] == [2, 3]


@pytest.mark.parametrize("headers", [{}, LENIENT], ids=["strict", "lenient"])
def test_a_rejected_event_is_stored_as_it_was_sent_including_its_number_formats(nobody, services, headers):
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
    (reject,) = stored_rejects(services)
    assert reject.event == sent.replace("\\u2028", "\u2028")
    assert (reject.address, reject.request_id, reject.place, reject.customer) == (
        "2001:db8:1::/48",
        "mine-1",
        1,
        "BARCHART",
    )
    assert reject.reasons == [
        "events[0].product is missing; it must be a string of 1 to 128 characters without control characters.",
        "events[0].type is missing; it must be a string of 1 to 128 characters without control characters.",
        "events[0].timestamp is 1568381886060.50; it must be a whole number of milliseconds from 0 to 253402300799999.",
    ]


def test_a_broken_line_is_stored_as_it_was_sent(nobody, services):
    body = json.dumps(event()).encode() + b'\n{"customer": \n'
    answer = nobody.post("/events", body, "application/x-ndjson", headers=LENIENT)
    assert (answer.status_code, answer.headers["X-Rejected-Events"]) == (200, "1")
    (reject,) = stored_rejects(services)
    assert (reject.place, reject.event, reject.field) == (2, '{"customer": ', "")


def test_invalid_json_is_rejected_in_both_modes(nobody, services):
    for headers in ({}, LENIENT):
        answer = nobody.post("/events", b'{"events": [', headers=headers)
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert "Preference-Applied" not in answer.headers
    assert stored_rejects(services) == []
