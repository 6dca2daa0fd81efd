"""Arbitrary bodies sent to `POST /events`: none causes an internal error, and acknowledged events can be read back."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.client import Client, event
from tests.support.pace import times

DATABASE = "postgresql"  # only PostgreSQL cannot store every text

# all examples of a test share the application and its database, so each example uses its own codes
EXAMPLES = settings(
    max_examples=times(35, 200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEWER_EXAMPLES = settings(EXAMPLES, max_examples=times(20, 60))  # each customer and product is a separate report
CUSTOMER = b"CUSTOMER"  # placeholder for the example's own code
TYPES = ["application/json", "text/plain", "application/x-ndjson"]

WHOLE = json.dumps(
    {"events": [event(customer="CUSTOMER"), event(customer="CUSTOMER", version="1", context=["a", None])]}
)
EVENT = b'{"customer":"CUSTOMER","product":"b","type":"c","timestamp":%s,"context":[%s]%s}'
NUMBERS = [b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e3", b"1.5", b"1e400", b"1e999999999", b"1" + b"0" * 5000]
NUMBERS += [b"-62135596800000", b"-62135596800001", b"0", b"253402300799999", b"253402300800000"]  # years 1 and 9999
STRINGS = [b'"\\u0000"', b'"\0"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xed\xa0\x80"', b'"\xff"', b'"\\ud83d\\ude00"']
STRINGS += [
    b'"%s"' % ("😀" * 4096).encode(),
    b'"%s"' % (b"x" * 4097),
    b'"\\u202e|\\"\\r\\n"',
    b'"\\\\."',
    b'"\\\\N"',
    b'""',
]
EXTRAS = [b',"type":"d"', b',"customer":"CUSTOMER2"', b',"timestamp":[]', b',"version":"\\u0000"', b',"version":null']
EXTRAS += [b',"x":' + b"[" * 150 + b"]" * 150, b',"\\ud800":1', b',"x":"\\u0000"', b',"":NaN', b","]
DEPTHS = [100, 199, 250, 900, 960, 968, 1_000, 100_000]

texts = st.text(st.characters(codec="utf-8"), max_size=10)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Generate a valid body with a few bytes removed, repeated or inserted."""
    body = WHOLE.encode()
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 8))
        put = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"{", b"}", b"[", b"]", b",", b"\\"])))
        body = body[:at] + put + body[at + draw(st.sampled_from([0, length])) :]
    return body


awkward = st.one_of(
    st.sampled_from(NUMBERS).map(lambda number: EVENT % (number, b"", b"")),
    st.sampled_from(NUMBERS + STRINGS).map(lambda item: EVENT % (b"1", item, b"")),
    st.sampled_from(EXTRAS).map(lambda extra: EVENT % (b"1", b"", extra)),
    texts.map(lambda text: EVENT % (b"1", json.dumps(text).encode(), b"")),
)
deep = st.builds(
    lambda depth, pair, where: where % (pair[0] * depth + b"1" + pair[1] * depth),
    st.sampled_from(DEPTHS),
    st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]),
    st.sampled_from(
        [b"%s", b'{"events":%s}', b'[{"customer":%s}]', EVENT % (b"1", b"%s", b""), EVENT % (b"1", b"", b',"x":%s')]
    ),
)
keepable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
keepable |= st.sampled_from(
    ['"', '""', "|", "\\.", "\r\n", "\u2028", "=1+1", "\u202e", "😀" * 4096, "NULL", "\ufeff", " "]
)
codes = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=10)
odd_events = st.fixed_dictionaries(
    {
        "customer": st.just(CUSTOMER.decode()),
        "type": codes,
        "timestamp": st.integers(0, 3) | st.sampled_from([0, 253402300799999, 1.0, 1e3]),
        "context": st.lists(
            st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), keepable)
        ),
    },
    optional={
        "version": keepable.filter(lambda text: len(text) <= 64),
        "x": keepable | st.dictionaries(keepable, st.lists(keepable, max_size=2), max_size=2),
    },
)
shapes = st.sampled_from([b"%s", b"[%s]", b"[%s,%s]", b'{"events":[%s]}', b"\xef\xbb\xbf[%s]", b"%s\n%s\n"])
bodies = st.one_of(
    st.binary(max_size=40),
    values.map(json.dumps).map(str.encode),
    mutated(),
    st.builds(lambda shape, one: shape.replace(b"%s", one), shapes, awkward),
    st.builds(lambda shape, one: shape.replace(b"%s", one), shapes, deep),
    texts.map(lambda text: json.dumps(text).encode("utf-16")),
)
cuts = st.just(lambda data: data) | st.sampled_from(
    [lambda data: b"", lambda data: data[:-1], lambda data: data[: len(data) // 2]]
)
cuts |= st.sampled_from([lambda data: data + data, lambda data: data + b"\0", lambda data: data[1:]])
codings = st.sampled_from(
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", lambda data: zlib.compress(data)[2:-4])]
)
codings |= st.sampled_from([("zstd", zstandard.compress), ("gzip", lambda data: data), ("zstd", lambda data: data)])


class Sender:
    """Client that sends bodies, records acknowledged events, and checks that all of them can be read back."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.examples = 0
        self.acknowledged: dict[tuple[str, str], list[tuple]] = defaultdict(list)

    def send(self, body: bytes, content_type: str = "application/json", **headers: str) -> int:
        """POST a body, check the response, and return its status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.client.post("/events", body, content_type, headers=named)
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status_code == 200:
            self.check_readable(answer.get_json())
        else:
            assert answer.status_code in (400, 413)
            assert_is_error(answer.get_json())
        return answer.status_code

    def own(self, body: bytes) -> bytes:
        """Return a body with the example's own customer."""
        self.examples += 1
        return body.replace(CUSTOMER, b"C%d" % self.examples)

    def check_readable(self, events: list[dict]) -> None:
        """Check that a report of each customer and product reads back exactly the acknowledged events."""
        for accepted in events:
            row = (accepted["timestamp"], accepted["type"], without_last_nulls(accepted["context"]))
            self.acknowledged[accepted["customer"], accepted["product"]].append(row)
        for customer, product in {(accepted["customer"], accepted["product"]) for accepted in events}:
            job, file = self.client.run_report(customer=customer, product=product)
            assert job["status"] == "COMPLETE"
            read = [(int(row[0]), row[1], without_last_nulls(row[2:])) for row in rows(file.decode())]
            assert read == sorted(self.acknowledged[customer, product], key=lambda row: row[0])


def without_last_nulls(context: list[str | None]) -> list[str | None]:
    count = len(context)
    while count and context[count - 1] is None:
        count -= 1
    return context[:count]


def rows(text: str) -> Iterator[list[str | None]]:
    """Parse a report file by RFC 4180, and distinguish null (nothing) from an empty string (two quotes)."""
    row, at = [], 0
    while at < len(text):
        if text[at] == '"':
            end = at + 1
            while text[end] != '"' or text[end : end + 2] == '""':
                end += 2 if text[end] == '"' else 1
            row.append(text[at + 1 : end].replace('""', '"'))
            end += 1
        else:
            end = min(place for place in (text.find("|", at), text.find("\n", at)) if place >= 0)
            row.append(text[at:end] or None)
        if text[end] == "\n":
            yield row
            row = []
        at = end + 1


def assert_is_error(answer: object) -> None:
    """Check that a response is an array of one error tree."""
    assert len(answer) == 1
    waiting = list(answer)
    while waiting:
        node = waiting.pop()
        assert list(node) == ["value", "children"]
        assert list(node["value"]) == ["code", "message"]
        assert all(isinstance(text, str) and text for text in node["value"].values())
        assert len(node["children"]) <= 101
        waiting.extend(node["children"])


@pytest.fixture
def sender(admin: Client) -> Sender:
    return Sender(admin)


@EXAMPLES
@given(bodies, st.sampled_from(TYPES), st.sampled_from(["strict", "lenient"]))
def test_a_hostile_body_is_rejected_or_stored_and_readable(
    sender: Sender, body: bytes, content_type: str, handling: str
):
    sender.send(sender.own(body), content_type, Prefer=f"handling={handling}")


@EXAMPLES
@given(bodies | mutated() | awkward, codings, cuts)
def test_a_hostile_compressed_body_is_rejected_or_stored_and_readable(
    sender: Sender, body: bytes, coding: tuple[str, Callable[[bytes], bytes]], cut: Callable[[bytes], bytes]
):
    name, compress = coding
    sender.send(cut(compress(sender.own(body))), Content_Encoding=name)


@FEWER_EXAMPLES
@given(st.lists(odd_events, max_size=8), codes)
def test_odd_but_valid_events_are_stored_and_readable(sender: Sender, events: list[dict], product: str):
    events = [odd | {"product": product} for odd in events]
    assert sender.send(sender.own(json.dumps(events).encode())) == 200
