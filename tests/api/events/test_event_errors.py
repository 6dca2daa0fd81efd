"""`POST /events` refuses: what the error looks like, and that it names every wrong event and field."""

from __future__ import annotations

import json

import pytest

from tests.support.client import event, faults, root

DATABASE = "sqlite"  # events are validated before the database is asked

MISSING = "REQUEST_PARAMETER_MISSING"
MALFORMED = "REQUEST_PARAMETER_MALFORMED"
LINES = "application/x-ndjson"


class TestTree:
    def test_it_is_the_same_byte_for_byte_on_both_databases(self, nobody):
        answer = nobody.post("/events", b'{"events":[{"customer":"C","product":"","timestamp":"x","context":[{}]}]}')
        assert answer.status_code == 400
        code = "a string of 1 to 128 characters without control characters"
        time = "a whole number of milliseconds from 0 to 253402300799999"
        assert answer.get_data(as_text=True) == (
            '[{"value":{"code":"REQUEST_INPUT_MALFORMED","message":"The request has 4 faults; nothing was stored."},'
            '"children":['
            '{"value":{"code":"REQUEST_PARAMETER_MALFORMED",'
            f'"message":"events[0].product has 0 characters; it must be {code}."}},"children":[]}},'
            '{"value":{"code":"REQUEST_PARAMETER_MISSING",'
            f'"message":"events[0].type is missing; it must be {code}."}},"children":[]}},'
            '{"value":{"code":"REQUEST_PARAMETER_MALFORMED",'
            f'"message":"events[0].timestamp is \\"x\\"; it must be {time}."}},"children":[]}},'
            '{"value":{"code":"REQUEST_PARAMETER_MALFORMED",'
            '"message":"events[0].context[0] is an object; it must be a string, number, boolean or null."},'
            '"children":[]}]}]'
        )

    def test_a_missing_field_is_told_from_a_malformed_one(self, nobody):
        for field in ["customer", "product", "type", "timestamp", "context"]:
            answer = nobody.post("/events", [event(**{field: None})])
            [(code, message)] = faults(answer)
            assert code == MISSING
            assert message.startswith(f"events[0].{field} is missing; it must be ")

    def test_every_wrong_event_is_named_by_its_place_and_no_other(self, nobody):
        answer = nobody.post("/events", [event(), event(type=""), event(), event(timestamp=1.5, version=4), event()])
        places = [message.split()[0] for _, message in faults(answer)]
        assert places == ["events[1].type", "events[3].version", "events[3].timestamp"]

    def test_an_event_that_is_no_object_is_named(self, nobody):
        for item in ["null", "5", '"x"', "true", "[]"]:
            answer = nobody.post("/events", f"[{json.dumps(event())},{item}]".encode())
            [(code, message)] = faults(answer)
            assert code == MALFORMED
            assert message.startswith("events[1] is ")
            assert message.endswith("; it must be an object.")

    def test_a_found_value_is_repeated_so_that_people_can_read_it_and_a_long_one_in_part(self, nobody):
        answer = nobody.post("/events", [event(timestamp="gestern früh")])
        assert faults(answer)[0][1].startswith('events[0].timestamp is "gestern früh"; ')
        answer = nobody.post("/events", [event(timestamp="x" * 5_000_000)])
        assert len(faults(answer)[0][1]) < 200

    def test_a_hundred_faults_are_all_named(self, nobody):
        answer = nobody.post("/events", [event(type="")] * 100)
        assert len(faults(answer)) == 100
        assert faults(answer)[-1][1].startswith("events[99].type ")

    def test_beyond_a_hundred_the_last_one_counts_the_rest(self, nobody):
        answer = nobody.post("/events", [event(type="", customer="")] * 1_000)
        assert len(faults(answer)) == 101
        assert faults(answer)[-1] == (MALFORMED, "And 1900 more.")
        assert len(answer.get_data()) < 50_000


class TestShapes:
    def test_a_body_that_is_neither_object_nor_array_is_malformed(self, nobody):
        for body in [b"null", b"5", b'"x"', b"true", b"1e3", b'"[]"']:
            answer = nobody.post("/events", body)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
            assert "it must be an object with events, or an array of events" in answer.get_json()[0]["value"]["message"]

    def test_an_object_without_events_misses_them(self, nobody):
        for body in [b"{}", b'{"event":[]}', b'{"Events":[]}']:
            answer = nobody.post("/events", body)
            assert answer.status_code == 400
            assert faults(answer) == [(MISSING, "events is missing; it must be an array of events.")]

    @pytest.mark.parametrize(
        ("events", "found"),
        [("5", "a number"), ("null", "null"), ('"x"', "a string"), ("{}", "an object"), ("false", "a boolean")],
    )
    def test_events_that_are_no_array_are_malformed(self, nobody, events, found):
        for body in (f'{{"events":{events}}}', f'{{"events":{events},"more":1}}'):
            answer = nobody.post("/events", body.encode())
            assert answer.status_code == 400
            assert faults(answer) == [(MALFORMED, f"events is {found}; it must be an array of events.")]


WHOLE = json.dumps([event()]).encode()
NOT_JSON = {
    "nothing": b"",
    "blanks": b"  \n",
    "cut": WHOLE[:-1],
    "garbage behind it": WHOLE + b"x",
    "another value behind it": WHOLE + WHOLE,
    "a comma too many": b"[" + WHOLE[1:-1] + b",]",
    "single quotes": WHOLE.replace(b'"', b"'"),
    "NaN": WHOLE.replace(b"1793000000000", b"NaN"),
    "Infinity": WHOLE.replace(b'"Overview"', b"Infinity"),
    "-Infinity": WHOLE.replace(b'"Overview"', b"-Infinity"),
    "NaN in a field that is ignored": WHOLE.replace(b"}", b',"x":NaN}'),
    "a leading zero": WHOLE.replace(b"1793000000000", b"01"),
    "a bare control character in a string": WHOLE.replace(b"Overview", b"a\nb"),
    "a bare NUL": WHOLE.replace(b"Overview", b"\0"),
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "UTF-16 without its mark": WHOLE.decode().encode("utf-16-le"),
    "UTF-32": WHOLE.decode().encode("utf-32"),
    "Latin-1": WHOLE.replace(b"Overview", b"\xfc"),
    "a surrogate in UTF-8": WHOLE.replace(b"Overview", b"\xed\xa0\x80"),
    "an overlong form": WHOLE.replace(b"Overview", b"\xc0\x80"),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + WHOLE,
    "depth": b"[" * 100_000 + b"]" * 100_000,
    "depth inside": WHOLE.replace(b"}", b',"x":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    "depth of objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "unfinished depth": b"[" * 1_000_000,
}


def test_what_is_not_json_is_malformed_and_said_to_be(nobody):
    for name, body in NOT_JSON.items():
        for sent in (body, b'{"events":' + body + b"}"):
            answer = nobody.post("/events", sent)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED"), name
            assert answer.get_json()[0]["value"]["message"].startswith("The body is not "), name
            assert faults(answer) == []


UNKEEPABLE = {
    "NUL": (rb"\u0000", "has a NUL character; text must not have one"),
    "a high surrogate": (rb"\ud800", "has a lone surrogate; text must be valid Unicode"),
    "a low surrogate": (rb"\udc00", "has a lone surrogate; text must be valid Unicode"),
    "surrogates the wrong way round": (rb"\udc00\ud83d", "has a lone surrogate; text must be valid Unicode"),
    "a high surrogate before a letter": (rb"\ud83dA", "has a lone surrogate; text must be valid Unicode"),
}


@pytest.mark.parametrize(("text", "reason"), UNKEEPABLE.values(), ids=UNKEEPABLE.keys())
class TestUnkeepableText:
    def test_in_a_context_it_is_named_by_its_place(self, nobody, text, reason):
        answer = nobody.post("/events", WHOLE.replace(b"Overview", text))
        assert faults(answer) == [(MALFORMED, f"events[0].context[1] {reason}.")]

    def test_in_a_field_it_is_named_by_its_place(self, nobody, text, reason):
        for field in ["customer", "product", "type", "version"]:
            body = json.dumps([event(**{field: "@"})]).encode().replace(b"@", text)
            assert faults(nobody.post("/events", body)) == [(MALFORMED, f"events[0].{field} {reason}.")]

    def test_in_a_line_it_is_named_by_its_place(self, nobody, text, reason):
        line = json.dumps(event()).encode()
        answer = nobody.post("/events", line + b"\n" + line.replace(b"Overview", text), LINES)
        assert faults(answer) == [(MALFORMED, f"events[1].context[1] {reason}.")]

    def test_even_in_what_is_ignored_it_is_refused(self, nobody, text, reason):
        events = json.dumps([event()]).encode()
        for body in (
            b'{"events":[],"note":"' + text + b'"}',
            b'{"events":[],"' + text + b'":1}',
            events.replace(b"}", b',"note":{"a":["' + text + b'"]}}'),
        ):
            answer = nobody.post("/events", body)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")


def test_characters_beyond_the_first_plane_are_kept_escaped_or_not(nobody):
    answer = nobody.post("/events", WHOLE.replace(b"Overview", rb"\ud83d\ude00").replace(b"user-1", "😀".encode()))
    assert answer.get_json()[0]["context"] == ["😀", "😀"]


def test_a_long_key_over_a_long_array_does_not_exhaust_the_memory(nobody):
    body = WHOLE.replace(b"}", b',"' + b"k" * 100_000 + b'":[' + b'"",' * 10_000 + b'"\\u0000"]}')
    answer = nobody.post("/events", body)
    assert answer.status_code == 400
    assert len(answer.get_data()) < 1_000


def test_a_broken_line_tells_what_is_wrong_with_it_once(nobody):
    line = json.dumps(event()).encode()
    answer = nobody.post("/events", b"\n".join([line, line[:-1], b"\xff", b"NaN", line]), LINES)
    assert answer.status_code == 400
    messages = [message for _, message in faults(answer)]
    assert [message.split(" ")[0] for message in messages] == ["events[1]", "events[2]", "events[3]"]
    assert all(message.endswith("; it must be an object.") for message in messages)


def test_a_fault_of_ours_is_told_in_the_protocols_words(nobody, monkeypatch, services):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(services.ingest), "accept", fail)
    answer = nobody.post("/events", [event()])
    assert answer.status_code == 500
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.get_data() == (
        b'[{"value":{"code":"REQUEST_GENERAL_FAILURE","message":'
        b'"An attempt to accept new events failed for unspecified reason(s)."},"children":[]}]'
    )
