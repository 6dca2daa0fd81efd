"""`flask events`: stored events."""

from __future__ import annotations

import json

from tests.support.client import event


def test_the_stored_events_are_counted(succeeds, prints, nobody):
    assert succeeds("events", "count") == "0\n"
    nobody.send(event(), event(customer="FERNHILL"))
    assert succeeds("events", "count") == "2\n"
    assert prints("events", "count") == {"events": 2}


def test_events_are_listed_by_a_context_value(prints, flask, nobody, sample_catalog):
    nobody.send(event(type="PORTFOLIO-VIEW-CHANGED", context=["u-1", "Overview"]), event(context=["u-2"]))
    for options in (("--value", "Overview"), ("--value", "u-1", "--context", "userId")):
        assert [one["context"] for one in prints("events", "list", *options)["events"]] == [["u-1", "Overview"]]
    assert "needs --value" in flask("events", "list", "--context", "userId").output


def test_events_are_listed_by_their_batch(prints, flask, nobody):
    nobody.send(event(type="A"))
    batch = nobody.send(event(type="B"))[0]["batch"]
    assert [one["type"] for one in prints("events", "list", "--batch", batch)["events"]] == ["B"]
    assert "'B' is not a valid UUID" in flask("events", "list", "--batch", "B").output


def test_events_are_followed_as_json_lines_from_the_oldest_or_the_end(succeeds, nobody):
    stored = nobody.send(event(timestamp=2), event(timestamp=1), event(customer="FERNHILL"))
    lines = succeeds("events", "follow", "--after", "0", "--once", "--customer", "BARCHART").splitlines()
    assert [{key: one[key] for key in stored[0]} for one in map(json.loads, lines)] == stored[:2]
    assert succeeds("events", "follow", "--once") == ""
