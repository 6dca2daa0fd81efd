"""Commands take times as people write them: days, ISO 8601, milliseconds, ages."""

from __future__ import annotations

import pytest

from app.support.clock import now
from tests.support.client import event

FIRST = 1_793_491_200_000  # 2026-11-01T00:00:00Z
OURS = ("--customer", "BARCHART", "--product", "PORTFOLIO")


@pytest.fixture(autouse=True)
def known(nobody) -> None:
    nobody.send(event(timestamp=FIRST), event(timestamp=FIRST + 86_399_999), event(timestamp=FIRST + 86_400_000))


def test_a_report_of_a_day_has_the_whole_day(prints):
    started = prints("reports", "start", *OURS, "--start", "2026-11-01", "--end", "2026-11-01")
    assert (started["filter"]["start"], started["filter"]["end"]) == (FIRST, FIRST + 86_399_999)


def test_a_report_takes_iso_8601_milliseconds_and_ages(prints):
    started = prints("reports", "start", *OURS, "--start", "2026-11-01T01:00+01:00", "--end", FIRST + 5)
    assert (started["filter"]["start"], started["filter"]["end"]) == (FIRST, FIRST + 5)
    lately = prints("reports", "start", *OURS, "--since", "7d")["filter"]["start"]
    assert now() - 7 * 86_400_000 - 60_000 < lately <= now() - 7 * 86_400_000


def test_a_time_that_is_none_is_a_wrong_call_that_names_the_forms(tally):
    code, _, said = tally("reports", "start", *OURS, "--start", "yesterday")
    assert code == 2
    assert said == (
        "Error: Invalid value for '--start' / '--since': 'yesterday' is not a day (2026-11-01), ISO 8601 "
        "(2026-11-01T10:57:00+01:00), milliseconds since 1970, or an age (7d, 12h, 30m). "
        "See: tally reports start --help\n"
    )


def test_waiting_takes_a_duration(tally, prints):
    source = prints("reports", "start", *OURS)["source"]
    assert tally("reports", "wait", source, "--timeout", "0s")[0] == 1  # no worker is there
    assert "not a number of seconds" in tally("reports", "wait", source, "--timeout", "soon")[2]


def test_events_are_listed_by_time(prints):
    found = prints("events", "list", "--start", "2026-11-01", "--until", "2026-11-01")["events"]
    assert [one["timestamp"] for one in found] == [FIRST + 86_399_999, FIRST]


def test_events_are_counted_by_time_and_code(prints):
    assert prints("events", "count", "--since", "2026-11-02") == {"events": 1}
    assert prints("events", "count", *OURS, "--start", "2026-11-01", "--end", "2026-11-01") == {"events": 2}
    assert prints("events", "count", "--start", "0", "--until", "2026-10-31") == {"events": 0}
    assert prints("events", "count") == {"events": 3}
