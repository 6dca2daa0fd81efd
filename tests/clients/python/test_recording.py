"""`record`: which events it accepts, and how it explains what it does not."""

from __future__ import annotations

import ast
import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path

import pytest
import tally_client
from tally_client import InvalidEvent, InvalidSetting, Tally, TallyError
from tally_client.encode import Encoder

from app.schemas.batches import split_body

SOURCES = Path(tally_client.__file__).parent


class View(StrEnum):
    HOLDINGS = "Holdings"


def encode(*context, customer="C", product="P", type="T", timestamp=1_793_000_000_000, version=None) -> bytes:
    return Encoder().encode(customer, product, type, context, timestamp, version)


@pytest.mark.parametrize(
    ("context", "stored"),
    [
        ((), []),
        (("a", 'quoted "b"', "", None), ["a", 'quoted "b"', "", None]),
        (("Zürich, 東京, 😀", "line\nend\\u0000", View.HOLDINGS), ["Zürich, 東京, 😀", "line\nend\\u0000", "Holdings"]),
        ((7, -0.5, 1e300, True, False, 10**30), ["7", "-0.5", "1e+300", "true", "false", str(10**30)]),
        (("x" * 4096, "\x01\x7f\u2028"), ["x" * 4096, "\x01\x7f\u2028"]),
        (("x",) * 100, ["x"] * 100),
    ],
)
def test_the_service_stores_what_was_recorded(context, stored):
    batch = split_body(b"[" + encode(*context) + b"]", 10, lines=False)
    assert [event.context for event in batch.events] == [stored]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            {"customer": 7},
            "customer is 7 (int); it must be a string of 1 to 128 characters without control characters.",
        ),
        ({"product": ""}, "product has 0 characters; it must be a string of 1 to 128"),
        ({"type": "T" * 129}, "type has 129 characters"),
        ({"type": "a\nb"}, r"type is 'a\nb' (str)"),
        ({"customer": ["C"]}, "customer is ['C'] (list)"),
        ({"version": "1" * 65}, "version has 65 characters; it must be a string of at most 64"),
        ({"version": 1.2}, "version is 1.2 (float)"),
        ({"timestamp": datetime(2026, 1, 1)}, "without a time zone"),
        ({"timestamp": 1.5}, "timestamp is 1.5 (float); it must be whole milliseconds since 1970"),
        ({"timestamp": -1}, "timestamp is -1 (int)"),
        ({"timestamp": 253_402_300_800_000}, "timestamp is 253402300800000"),
        ({"timestamp": float("nan")}, "timestamp is nan"),
        ({"timestamp": "now"}, "timestamp is 'now' (str)"),
        ({"context": [["a"]]}, "context[0] is ['a'] (list); it must be a string, number, boolean or None."),
        ({"context": ["a", float("inf")]}, "context[1] is inf (float)"),
        ({"context": ["a", "x" * 4097]}, "context[1] has 4,097 characters; at most 4,096 are allowed."),
        ({"context": ["a\0"]}, "context[0] has a NUL character"),
        ({"context": ["a", None, "\ud800"]}, "context[2] has a lone surrogate"),
        ({"context": ["x"] * 101}, "context has 101 items; at most 100 are allowed."),
        ({"context": [10**9000]}, "context[0] is a huge number (int)"),
    ],
)
def test_an_invalid_event_is_explained_where_it_is_made(event, message):
    with pytest.raises(InvalidEvent) as refused:
        encode(*event.pop("context", ()), **event)
    assert message in str(refused.value)


def test_a_time_is_a_datetime_of_any_zone_or_milliseconds():
    noon = datetime(2026, 11, 29, 12, 0, 0, 250_999, UTC)
    elsewhere = noon.astimezone(timezone(timedelta(hours=9)))
    times = [json.loads(encode(timestamp=moment))["timestamp"] for moment in (noon, elsewhere, 1_795_953_600_250.0)]
    assert times == [1_795_953_600_250] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "tally.example"}, "url is 'tally.example'; it must be the address of the service"),
        ({"url": "https://a:b@tally.example"}, "url contains credentials"),
        ({"url": "http://tally.example:port"}, "it must be the address"),
        ({"overflow": "drop"}, "overflow is 'drop'; it must be one of 'drop-oldest', 'drop-newest', 'block', 'raise'."),
        ({"fsync": True}, "fsync is True; it must be one of 'always', 'interval', 'never'."),
        ({"batch_events": 0}, "batch_events is 0; it must be a number from 1 to 100,000."),
        ({"max_bytes": 1000}, "max_bytes is 1000"),
        ({"key": "k\n"}, "key must be a string of printable ASCII characters"),
        ({"token": ""}, "token must be"),
        ({"user": "anna"}, "user and password belong together"),
        ({"user": "anna", "password": "x", "token": "tly_"}, "token and user are both given"),
    ],
)
def test_an_invalid_argument_of_the_client_is_explained(arguments, message):
    with pytest.raises(InvalidSetting) as refused:
        Tally(**({"url": "http://127.0.0.1:9"} | arguments))
    assert message in str(refused.value)


def test_all_errors_have_one_base_class():
    errors = [
        value for value in vars(tally_client).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(errors) == 9
    assert all(issubclass(error, TallyError) for error in errors)


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.py")), ids=lambda path: path.name)
def test_the_client_is_written_for_python_3_9_and_imports_only_the_standard_library(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    runtime = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    typed = {node for block in ast.walk(tree) if is_for_types(block) for node in ast.walk(block)}
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in runtime
        if node not in typed
    }
    assert names <= sys.stdlib_module_names | {"tally_client"}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
