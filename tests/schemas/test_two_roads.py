"""The fast path and the slow path of parsing a batch agree on every input.

`read_plain` (msgspec), the fast path, may reject any input, which the slow path (the JSON parser and marshmallow) then
parses. The slow path must accept everything that the fast path accepts, with the same result.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from app.exceptions import TallyError
from app.schemas.batches import load_event, read_plain, split_body
from app.schemas.events import Event
from app.schemas.fields import MAX_TIME
from app.schemas.json import parse
from tests.support.client import event
from tests.support.pace import times

LIMIT = 10_000
EXAMPLES = settings(max_examples=times(50, 300), deadline=None)

# Characters that JSON, UTF-8, PostgreSQL or the service's rules treat specially. Astral characters count as one.
ODD = ["\0", "\x01", "\t", "\n", "\x1f", " ", '"', "\\", "/", "\x7f", "\x80", "\x85", "\x9f", "\xa0", "é", "\u0301"]
ODD += ["\u200f", "\u2028", "\ufeff", "\ufffd", "\uffff", "😀", "\U0010ffff"]
characters = st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8"))
texts = st.text(characters, max_size=8)


def long_texts(limit: int) -> st.SearchStrategy[str]:
    """Texts with lengths around the limit, of characters of one to four bytes."""
    lengths = st.integers(limit - 2, limit + 1)
    return st.builds(
        lambda character, length: character * length, st.sampled_from(["x", "é", "…", "😀", "\x85"]), lengths
    )


codes = st.text(st.characters(codec="utf-8", categories=["L", "N", "S"]), min_size=1, max_size=8)
items = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8))
valid_events = st.fixed_dictionaries(
    {
        "customer": codes,
        "product": codes,
        "type": codes,
        "timestamp": st.integers(0, MAX_TIME),
        "context": st.lists(items, max_size=4),
    },
    optional={"version": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)},
)
# One possibly invalid value at a time, because an event with several is hardly ever valid.
edges = st.one_of(
    st.tuples(st.sampled_from(["customer", "product", "type"]), st.one_of(texts, long_texts(128))),
    st.tuples(st.just("version"), st.one_of(texts, long_texts(64))),
    st.tuples(st.just("timestamp"), st.sampled_from([0, MAX_TIME, MAX_TIME + 1, -1, 2**63, 10**400])),
    st.tuples(st.just("context"), st.lists(st.one_of(texts, long_texts(4096)), max_size=2)),
    st.tuples(st.just("context"), st.lists(st.none(), min_size=99, max_size=101)),
)
plain_events = valid_events | st.builds(lambda event, edge: event | dict([edge]), valid_events, edges)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["customer", "product", "type", "version", "timestamp", "context", "Customer", "unknown", ""])


def dump(value: object, *, escaped: bool = False) -> str:
    return json.dumps(value, ensure_ascii=escaped)


@st.composite
def nearly_valid_events(draw: st.DrawFn) -> str:
    """Draw the JSON text of an event with a member replaced, duplicated, removed or added."""
    members = list(draw(plain_events).items())
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()) and members:
            members.pop(draw(st.integers(0, len(members) - 1)))
        else:
            members.insert(draw(st.integers(0, len(members))), (draw(names), draw(anything)))
    return "{" + ",".join(f"{dump(name)}:{dump(value)}" for name, value in members) + "}"


NUMBERS = ["-0", "0.0", "-0.0", "1.0", "1e3", "1E+3", "1e-3", "10e-1", "5.00000000000000000000001", "1e400", "1e-400"]
NUMBERS += ["253402300799999.0", "253402300799999.01", "253402300800000", "9007199254740993", "1" + "0" * 5000, "01"]
NUMBERS += ["1.", ".5", "+1", "--1", "0x1", "1_000", "NaN", "Infinity", "true", "null", '"1"', "1e999999999", "- 1"]
STRINGS = [r"\u0041", r"\ud83d\ude00", r"\ud800", r"\udc00", r"\ud800\ud800", r"\udc00\ud83d\ude00", r"\u0000"]
STRINGS += [r"\\u0000", r"\u0001", r"\u007f", r"\u0085", r"\/", r"\x41", r"\u00g0", r"\u 041", r"\u004", "\t", "\x7f"]
STRINGS += ["\x00", "\x85", "\\", '\\"']
EVENT = '{"customer":"a","product":"b","type":"c","timestamp":%s,"context":["%s"]%s}'
SPACES = ["", " ", "\t\r\n ", "\f", "\v", "\xa0", "\u2028", "\ufeff", "\0", "//", ","]
EXTRAS = ["", ',"version":""', ',"version":null', ',"version":"1","version":"2"', ',"type":1,"type":"d"', ","]
EXTRAS += [r',"custome\u0072":"z"', ',"customer ":"z"', ',"x":1', ',"":{}', r',"x":"\u0000"', r',"\ud800":1']

awkward_events = st.one_of(
    st.sampled_from(NUMBERS).map(lambda number: EVENT % (number, "", "")),
    st.sampled_from(STRINGS).map(lambda string: EVENT % ("1", string, "")),
    st.sampled_from(EXTRAS).map(lambda extra: EVENT % ("1", "", extra)),
    st.tuples(st.sampled_from(SPACES), st.sampled_from(SPACES)).map((EVENT % ("1", "", "")).join),
    st.builds(
        lambda *parts: EVENT % parts, st.sampled_from(NUMBERS), st.sampled_from(STRINGS), st.sampled_from(EXTRAS)
    ),
)


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draw a text with a few bytes removed, duplicated or inserted."""
    text = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        until = draw(st.integers(at, min(len(text), at + 6)))
        put = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\"])))
        text = text[:at] + put + text[draw(st.sampled_from([at, until])) :]
    return text


events_as_text = st.one_of(plain_events.map(dump), plain_events.map(lambda event: dump(event, escaped=True)))
events_as_text |= nearly_valid_events() | awkward_events
arrays = st.lists(events_as_text, max_size=3).map(lambda texts: f"[{','.join(texts)}]".encode("utf-8", "surrogatepass"))


ENDS = ["\n", "\r\n", "\n\n", "\n \t\n", "\r", " ", "", ",", "\n\f\n", "\n\xa0\n", "\u2028", "\ufeff"]
lines = st.lists(st.tuples(events_as_text, st.sampled_from(ENDS) | st.just("\n")), max_size=3).map(
    lambda pairs: "".join(text + end for text, end in pairs).encode("utf-8", "surrogatepass")
)


def load_slowly(array: bytes) -> list[Event] | None:
    """Return the events of a JSON array by the slow path alone, or None if it rejects any."""
    return load_each(lambda: parse(array))


def load_each(list_items: Callable[[], object]) -> list[Event] | None:
    try:
        return [load_event(item) for item in list_items()]
    except (TallyError, ValidationError, TypeError):
        return None


def load(body: bytes, *, lines: bool = False) -> list[Event] | None:
    try:
        batch = split_body(body, LIMIT, lines=lines)
    except TallyError:
        return None
    return None if batch.rejected else batch.events


def to_builtins(events: list[Event] | None) -> list[dict] | None:
    """Return events for a comparison that includes the type of each value and whether there is a version."""
    return None if events is None else [msgspec.to_builtins(event) for event in events]


@EXAMPLES
@given(st.one_of(arrays, mutated(arrays)))
@example(b"[" + EVENT.encode() % (b"253402300799999.01", b"", b"") + b"]")
@example(b'[{"customer":"a","product":"b","type":"c","timestamp":1,"context":["\xed\xa0\x80"]}]')
@example(b"[]\x0c")
@example(b"\xef\xbb\xbf[]")
@example(b"[" * 100_000)
def test_the_slow_path_agrees_with_the_fast_path(array: bytes):
    fast = read_plain(array)
    if fast is not None:
        assert to_builtins(fast) == to_builtins(load_slowly(array))


@EXAMPLES
@given(arrays)
def test_a_batch_in_either_form_is_parsed_as_by_the_slow_path(array: bytes):
    expected = to_builtins(load_slowly(array))
    assert to_builtins(load(array)) == expected
    assert to_builtins(load(b'{"events":' + array + b"}")) == expected
    assert to_builtins(load(b' { "ignored" : [ {} ] ,\n"events" : ' + array + b" } ")) == expected


@EXAMPLES
@given(st.builds(lambda array: b'{"events":' + array + b"}", arrays).flatmap(lambda body: mutated(st.just(body))))
@example(b'{"events":"\xff","events":[]}')
@example(b'{"events":"\xed\xa0\x80","events":[]}')
@example(b'{"events":' + b"[" * 100_000 + b"]" * 100_000 + b',"events":[]}')
@example(b'{"events":[]}x')
def test_an_accepted_body_is_valid_json(body: bytes):
    if load(body) is not None:
        value = parse(body)
        listed = value if isinstance(value, list) else value["events"]
        assert to_builtins(load(body)) == to_builtins([load_event(item) for item in listed])


@EXAMPLES
@given(plain_events, st.booleans())
def test_the_fast_path_accepts_every_valid_plain_event(event: dict, escaped: bool):
    array = dump([event], escaped=escaped).encode()
    assert (read_plain(array) is not None) == (load_slowly(array) is not None)


@EXAMPLES
@given(st.one_of(lines, mutated(lines)))
@example(b'{"customer":"a","product":"b","type":"c",\n"timestamp":1,"context":[]}')
def test_the_slow_path_agrees_with_the_fast_path_about_lines(body: bytes):
    fast = read_plain(body, lines=True)
    if fast is not None:
        assert to_builtins(fast) == to_builtins(
            load_each(lambda: [parse(line) for line in body.split(b"\n") if line.strip()])
        )


@EXAMPLES
@given(st.lists(st.one_of(plain_events.map(dump), nearly_valid_events()), max_size=3))
def test_a_batch_of_lines_is_parsed_as_the_same_batch_in_an_array(texts: list[str]):
    assert to_builtins(load("\n".join(texts).encode(), lines=True)) == to_builtins(
        load(f"[{','.join(texts)}]".encode())
    )


def test_the_events_of_a_large_batch_share_their_codes():
    """Otherwise 100,000 events would hold 300,000 strings, most of them equal."""
    text = json.dumps(event(context=["x" * 1_000]))
    for last in (text, text.replace("{", '{"unknown":1,', 1)):
        batch = split_body(f"[{','.join([text] * 2_500 + [last])}]".encode(), 3_000)
        assert len(batch.events) == 2_501
        for name in ("customer", "product", "type"):
            assert len({id(getattr(loaded, name)) for loaded in batch.events}) == 1
