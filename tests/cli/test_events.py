"""`flask events`: stored events."""

from __future__ import annotations

from tests.support.client import event


def test_the_stored_events_are_counted(succeeds, prints, nobody):
    assert succeeds("events", "count") == "0\n"
    nobody.send(event(), event(customer="FERNHILL"))
    assert succeeds("events", "count") == "2\n"
    assert prints("events", "count") == {"events": 2}
