"""A line of JSON Lines has the same JSON as an event of `GET /events`."""

from __future__ import annotations

import uuid

import msgspec

from app.exports import jsonl
from app.schemas.events import FullEvent, encode_stored

BATCH = "6f1c9f7e-0d3c-4a53-9d4e-2f6f0e6e7a10"


def test_a_line_has_the_keys_of_the_response_in_order():
    assert jsonl.Line.__struct_fields__ == FullEvent.__struct_fields__


def test_a_line_equals_the_response_with_and_without_a_version():
    context = ["user-1", None, "", '"é\\\n']
    for version in ("4.2.0", "", None):
        answered = msgspec.UNSET if version is None else version
        answer = FullEvent("BARCHART", "PORTFOLIO", "LOADED", answered, 1793, context, 3, BATCH, 1794)
        row = ("BARCHART", "PORTFOLIO", "LOADED", version, 1793, context, 3, uuid.UUID(BATCH), 1794)
        assert list(jsonl.blocks(iter([row]))) == [(encode_stored(answer) + b"\n", 1)]
