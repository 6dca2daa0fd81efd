"""Accepted requests to `POST /events`: each form of a batch, the response, and the stored events."""

from __future__ import annotations

import json
import uuid

import pytest

from app.services.events.ingest import ENCODED_EVENTS
from tests.support.client import FIRST, Client, event, faults, root
from tests.support.rows import newest_events

LAST = 253_402_300_799_999  # the last millisecond of the year 9999
LINES = "application/x-ndjson"


def stored() -> list[tuple]:
    """Return the events in the database in the order of acceptance."""
    rows = reversed(newest_events(20_000))
    return [(e.customer, e.product, e.type, e.version, e.timestamp, e.context, e.sequence, str(e.batch)) for e in rows]


def with_field(field: str, *texts: str) -> bytes:
    """Return a bare array of events, each with a field of this JSON text."""
    return ("[" + ",".join(one_with_field(field, text) for text in texts) + "]").encode()


def one_with_field(field: str, text: str) -> str:
    fields = {key: json.dumps(value) for key, value in event().items()} | {field: text}
    return "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}"


def rejection_messages(client: Client, field: str, texts: list[str]) -> list[str]:
    """Send events with one invalid field each, check that none is stored, and return the messages."""
    answer = client.post("/events", with_field(field, *texts))
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    assert {code for code, _ in faults(answer)} == {"REQUEST_PARAMETER_MALFORMED"}
    assert len(faults(answer)) == len(texts)
    assert stored() == []
    return [message for _, message in faults(answer)]


ONE = json.dumps(event()).encode()


class TestForms:
    @pytest.mark.parametrize(
        ("body", "media_type"),
        [
            (b'{"events": [%s, %s]}' % (ONE, ONE), "application/json"),
            (b'{"sent": 1, "events": [%s, %s], "by": {"sdk": "6"}}' % (ONE, ONE), "application/json"),
            (b"[%s, %s]" % (ONE, ONE), "application/json"),
            (b" \r\n\t" * 100 + b"[%s, %s]" % (ONE, ONE), "application/json"),
            (b"\xef\xbb\xbf[%s, %s]" % (ONE, ONE), "application/json"),
            (b'{"events": [%s, %s]}' % (ONE, ONE), "text/plain;charset=UTF-8"),
            (b"%s\n%s\n" % (ONE, ONE), LINES),
            (b"%s\n%s" % (ONE, ONE), LINES),
            (b"\xef\xbb\xbf%s\n%s" % (ONE, ONE), LINES),
            (b"\r\n\n%s\r\n \t\r\n\r\n%s\r\n\n" % (ONE, ONE), f"{LINES}; charset=utf-8"),
        ],
        ids=[
            "an object", "other keys beside the events", "an array", "white space before it", "a byte order mark",
            "a beacon", "lines", "no final line end", "lines after a byte order mark", "blank lines",
        ],
    )  # fmt: skip
    def test_each_form_of_a_batch_is_accepted(self, nobody, body, media_type):
        answer = nobody.post("/events", body, media_type)
        assert answer.status_code == 200
        assert [answered["sequence"] for answered in answer.get_json()] == [row[6] for row in stored()] == [1, 2]

    @pytest.mark.parametrize("body", [b"[]", b'{"events":[]}', b' { "events" : [ ] } '])
    def test_an_empty_list_gets_an_empty_list(self, nobody, body):
        answer = nobody.post("/events", body)
        assert (answer.status_code, answer.get_data()) == (200, b"[]")
        assert stored() == []

    def test_a_batch_may_have_events_of_several_customers(self, nobody):
        nobody.send(event(customer="A"), event(customer="B", product="OTHER"))
        assert [row[:2] for row in stored()] == [("A", "PORTFOLIO"), ("B", "OTHER")]


class TestLines:
    def test_each_line_is_an_event(self, nobody):
        body = "\n".join(json.dumps(event(type=name)) for name in "ABC") + "\n"
        answer = nobody.post("/events", body.encode(), LINES)
        assert [(e["type"], e["sequence"]) for e in answer.get_json()] == [("A", 1), ("B", 2), ("C", 3)]

    @pytest.mark.parametrize("body", [b"", b"\n", b"\r\n\r\n", b"   "])
    def test_no_line_is_an_empty_list(self, nobody, body):
        answer = nobody.post("/events", body, LINES)
        assert (answer.status_code, answer.get_data()) == (200, b"[]")

    def test_a_line_separator_inside_a_string_does_not_end_the_line(self, nobody):
        body = json.dumps(event(context=["a\u2028b\x85c"]), ensure_ascii=False).encode()
        assert nobody.post("/events", body, LINES).get_json()[0]["context"] == ["a\u2028b\x85c"]

    def test_a_broken_line_is_named_and_nothing_is_stored(self, nobody):
        body = f'{json.dumps(event())}\n{{"customer":\n{json.dumps(event())}'
        answer = nobody.post("/events", body.encode(), LINES)
        assert answer.status_code == 400
        [(code, message)] = faults(answer)
        assert code == "REQUEST_PARAMETER_MALFORMED"
        assert message.startswith("events[1] is not valid JSON")
        assert stored() == []


class TestResponse:
    BODY = (
        '{"events": [{"context": ["é", null, "", "a\\"b"], "extra": 1, "timestamp": 1568381886060.0,'
        ' "version": "4.2.0", "type": "T", "product": "P", "customer": "C"},'
        ' {"type": "T", "customer": "C", "timestamp": 0, "product": "P", "context": []}]}'
    )

    def test_it_is_byte_for_byte_the_same_on_both_databases(self, nobody):
        answer = nobody.post("/events", self.BODY.encode())
        batch = answer.get_json()[0]["batch"]
        assert answer.get_data(as_text=True) == (
            '[{"customer":"C","product":"P","type":"T","version":"4.2.0","timestamp":1568381886060,'
            f'"context":["é",null,"","a\\"b"],"sequence":1,"batch":"{batch}"}},'
            f'{{"customer":"C","product":"P","type":"T","timestamp":0,"context":[],"sequence":2,"batch":"{batch}"}}]'
        )

    def test_the_response_has_the_stored_values(self, nobody):
        batch = nobody.post("/events", self.BODY.encode()).get_json()[0]["batch"]
        assert stored() == [
            ("C", "P", "T", "4.2.0", 1568381886060, ["é", None, "", 'a"b'], 1, batch),
            ("C", "P", "T", None, 0, [], 2, batch),
        ]

    def test_an_empty_version_differs_from_a_missing_one(self, nobody):
        [answered] = nobody.send(event(version=""))
        assert list(answered) == ["customer", "product", "type", "version", "timestamp", "context", "sequence", "batch"]
        assert [row[3] for row in stored()] == [""]

    def test_each_request_has_its_own_batch_uuid(self, nobody):
        first, second = nobody.send(event(), event()), nobody.send(event())
        assert len({e["batch"] for e in first}) == 1
        assert str(uuid.UUID(first[0]["batch"])) == first[0]["batch"] != second[0]["batch"]

    def test_sequences_count_from_one_in_the_order_sent(self, nobody):
        times = [FIRST - number for number in range(300)]
        answered = nobody.send(*(event(timestamp=time) for time in times))
        assert [e["sequence"] for e in answered] == list(range(1, 301))
        assert [e["timestamp"] for e in answered] == times
        assert [row[4] for row in stored()] == times

    def test_the_same_event_twice_is_stored_twice(self, nobody):
        nobody.send(event(), event())
        nobody.send(event())
        assert len(stored()) == 3

    def test_the_last_of_two_equal_keys_wins(self, nobody):
        body = b'[{"type":5,"customer":"C","product":"P","type":"T","timestamp":1,"context":[],"context":["x"]}]'
        [answered] = nobody.post("/events", body).get_json()
        assert (answered["type"], answered["context"]) == ("T", ["x"])

    def test_unknown_fields_are_ignored(self, nobody):
        [answered] = nobody.send(event(sequence=7, batch="mine", received=1, id="x", nested={"a": [1, {"b": None}]}))
        assert answered["sequence"] == 1
        assert answered["batch"] != "mine"


class TestTimestamp:
    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("1568381886060.0", 1568381886060),
            ("1568381886060.000", 1568381886060),
            ("1.56838188606e12", 1568381886060),
            ("1E3", 1000),
            ("10000e-1", 1000),
            ("0e999999999", 0),
            (str(LAST), LAST),
            (f"{LAST}.0", LAST),
        ],
    )
    def test_a_whole_number_in_any_notation_becomes_an_integer(self, nobody, sent, expected):
        answer = nobody.post("/events", with_field("timestamp", sent))
        assert answer.status_code == 200
        assert f'"timestamp":{expected},'.encode() in answer.get_data()
        assert [row[4] for row in stored()] == [expected]

    def test_any_other_value_is_rejected(self, nobody):
        numbers = [str(LAST + 1), f"{LAST + 1}.0", "-1", "-0.1", "0.5", "1568381886060.5", f"{LAST}.1", "1e15", "1e400"]
        numbers += ["1e-400", "9223372036854775808", "1e999999999", "9" * 5000]
        others = ["true", "false", "null", '""', '"1568381886060"', '"x"', "[1]", '{"ms":1}']
        messages = rejection_messages(nobody, "timestamp", numbers + others)
        for index, message in enumerate(messages):
            assert message.startswith(f"events[{index}].timestamp is ")
            assert message.endswith(f"; it must be a whole number of milliseconds from 0 to {LAST}.")
            assert len(message) < 200


@pytest.mark.parametrize("field", ["customer", "product", "type"])
class TestCodes:
    @pytest.mark.parametrize("text", ["x", "x" * 128, "😀" * 128, " ", "a|b\"c'd", "\u202e\u200f\ufeff"], ids=range(6))
    def test_1_to_128_characters_are_accepted(self, nobody, field, text):
        [answered] = nobody.send(event(**{field: text}))
        assert answered[field] == text
        assert stored()[0][("customer", "product", "type").index(field)] == text

    def test_empty_and_longer_codes_and_control_characters_are_rejected(self, nobody, field):
        texts = ["", "x" * 129, "😀" * 129, "a\nb", "a\tb", "\x7f", "\x85", "\x00", "\x1f"]
        messages = rejection_messages(nobody, field, [json.dumps(text) for text in texts])
        descriptions = ["0 characters", "129 characters", "129 characters"] + ["a control character"] * 6
        descriptions[7] = "a NUL character"
        for index, message in enumerate(messages):
            assert message.startswith(f"events[{index}].{field} has {descriptions[index]}; ")

    def test_a_code_that_is_not_a_string_is_rejected(self, nobody, field):
        messages = rejection_messages(nobody, field, ["5", "true", "null", "[]", "{}", '["A"]', "1.5"])
        descriptions = ["5", "true", "null", "an array", "an object", "an array", "1.5"]
        for index, message in enumerate(messages):
            assert message.startswith(
                f"events[{index}].{field} is {descriptions[index]}; it must be a string of 1 to 128 "
            )


class TestVersion:
    @pytest.mark.parametrize("text", ["", "4", "x" * 64, "😀" * 64])
    def test_up_to_64_characters_are_accepted(self, nobody, text):
        [answered] = nobody.send(event(version=text))
        assert answered["version"] == text

    def test_a_longer_version_and_any_other_type_are_rejected(self, nobody):
        longer = ['"%s"' % ("x" * 65), '"%s"' % ("😀" * 65)]
        messages = rejection_messages(nobody, "version", [*longer, "4", "4.2", "true", "null", "[]", "{}"])
        for index, message in enumerate(messages):
            assert message.startswith(f"events[{index}].version ")
            assert message.endswith("; it must be a string of at most 64 characters.")


class TestContext:
    def test_numbers_and_booleans_are_stored_as_their_json_text(self, nobody):
        sent = '[1.50, 1e3, -0, 12345678901234567890123, 0.1, 1E+2, -1.0e-5, true, false, null, "x", 0]'
        expected = ["1.50", "1e3", "-0", "12345678901234567890123", "0.1", "1E+2", "-1.0e-5"]
        expected += ["true", "false", None, "x", "0"]
        answer = nobody.post("/events", with_field("context", sent))
        assert answer.get_json()[0]["context"] == expected
        assert stored()[0][5] == expected

    @pytest.mark.parametrize(
        "items",
        [
            [],
            [""],
            [None],
            [None, "a", None, "", None],
            ["x" * 4096],
            ["😀" * 4096],
            ["x"] * 100,
            ["\n\r\t\x01\x7f"],
            ["NULL", "\\N", "\\.", "{}"],
        ],
        ids=range(9),
    )
    def test_valid_items_are_stored_unchanged(self, nobody, items):
        [answered] = nobody.send(event(context=items))
        assert answered["context"] == items
        assert stored()[0][5] == items

    def test_invalid_items_are_rejected(self, nobody):
        wrong = {
            '["%s"]' % ("x" * 4097): "context[0] has 4097 characters",
            '["", "%s"]' % ("😀" * 4097): "context[1] has 4097 characters",
            "[%s]" % ("9" * 4097): "context[0] has 4097 characters",
            json.dumps([None] * 101): "context has 101 items",
            "[[]]": "context[0] is an array",
            '["a", {"b": 1}]': "context[1] is an object",
            "{}": "context is an object",
            '"a"': "context is a string",
            "5": "context is a number",
            "true": "context is a boolean",
            "null": "context is null",
        }
        messages = rejection_messages(nobody, "context", list(wrong))
        for index, (message, place) in enumerate(zip(messages, wrong.values(), strict=True)):
            assert message.startswith(f"events[{index}].{place}; it must be ")


class TestAllOrNothing:
    def test_one_invalid_event_rejects_the_whole_batch(self, nobody):
        nobody.send(event())
        answer = nobody.post("/events", {"events": [event(), event(timestamp=-1), event()]})
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert len(stored()) == 1

    def test_a_batch_of_the_maximum_size_is_stored(self, nobody):
        answered = nobody.send(*(event(context=[str(number)]) for number in range(10_000)))
        assert len(answered) == 10_000
        assert [row[5] for row in stored()] == [[str(number)] for number in range(10_000)]


@pytest.mark.settings(catalog_mode="strict")
class TestStrictCatalog:
    def test_codes_of_the_catalog_are_accepted(self, nobody, sample_catalog):
        nobody.send(event(), event(product="WATCHLIST"), event(context=[]), event(context=["x"] * 100))
        assert len(stored()) == 4

    @pytest.mark.parametrize("field", ["customer", "product", "type"])
    def test_an_unknown_code_is_malformed_and_the_nearest_is_named(self, nobody, sample_catalog, field):
        near = event()[field]
        answer = nobody.post("/events", [event(), event(**{field: f"{near}X"})])
        assert answer.status_code == 400
        [(code, message)] = faults(answer)
        assert code == "REQUEST_PARAMETER_MALFORMED"
        assert message.startswith(f'events[1].{field} is "{near}X"')
        # Customers are confidential: a client that may send events must not learn about other customers.
        assert (near in message.partition("nearest")[2]) == (field != "customer")
        assert stored() == []


def test_a_batch_encoded_in_pieces_keeps_its_order(nobody, services):
    count = 2 * ENCODED_EVENTS + 1
    answer = nobody.send(*[event(context=[str(number)]) for number in range(count)])
    assert [(one["sequence"], one["context"]) for one in answer] == [(n + 1, [str(n)]) for n in range(count)]
    assert len({one["batch"] for one in answer}) == 1
    assert services.ingest.count() == count
