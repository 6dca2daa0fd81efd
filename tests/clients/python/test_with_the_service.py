"""Recording against the service itself: what it stores, and its verdicts."""

from __future__ import annotations

import json

import pytest
from tally_client import Tally

from tests.conftest import PASSWORD
from tests.support.client import FIRST
from tests.support.pace import slack
from tests.support.running import wait_until

DATABASE = "sqlite"  # a client does not notice which database there is
CODES = ("BARCHART", "PORTFOLIO", "PORTFOLIO-VIEW-CHANGED")


def stored(tally: Tally) -> list:
    return [one.context for one in tally.events()][::-1]


def test_what_was_recorded_is_read_back(url, analyst, tmp_path):
    contexts = [["Zürich 東京 😀", 'a "b" \\ \n', ""], [], ["x" * 4096] * 100]
    with Tally(url, spool=tmp_path, user="anna", password=PASSWORD) as tally:
        for place, context in enumerate(contexts):
            tally.record(*CODES, *context, timestamp=FIRST + place, version="4.2.0")
        tally.record(*CODES, None, True, 1.5, timestamp=FIRST + 9)
        assert tally.flush(slack(20))
        assert stored(tally) == [*contexts, [None, "true", "1.5"]]
        assert [one.version for one in tally.events()] == [None, *["4.2.0"] * 3]


@pytest.mark.settings(catalog_mode="strict")
def test_an_event_that_the_catalog_does_not_know_is_rejected_alone(url, admin, sample_catalog, tmp_path):
    with Tally(url, spool=tmp_path, user="admin", password=PASSWORD) as tally:
        tally.record(*CODES, "known")
        tally.record("BARCHART", "PORTFOLIO", "UNKNOWN", "unknown")
        tally.record(*CODES, "known, too")
        assert tally.flush(slack(20))
        assert stored(tally) == [["known"], ["known, too"]]
        assert tally.stats[:5] == (3, 2, 1, 0, 0)
    [line] = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["event"]["context"] == ["unknown"]


@pytest.mark.settings(ingest_auth="key")
def test_events_outside_the_scope_of_the_key_are_rejected_and_a_wrong_key_keeps_them(url, admin, services, tmp_path):
    _, key = services.ingest_keys.add("shop", customers=["BARCHART"])
    with Tally(url, "wrong", tmp_path / "spool", exit_seconds=0) as wrong:
        wrong.record(*CODES, "inside")
        wrong.record("FERNHILL", *CODES[1:], "outside")
        wait_until(lambda: wrong.stats.failures, 10)
        assert "does not accept the key" in wrong.stats.last_error
    with Tally(url, key, tmp_path / "spool", user="admin", password=PASSWORD) as tally:
        assert tally.flush(slack(20))
        assert stored(tally) == [["inside"]]
        assert tally.stats[1:3] == (1, 1)


@pytest.mark.settings(max_batch_events=3)
def test_a_batch_beyond_the_limits_of_the_service_is_divided(url, admin):
    with Tally(url, user="admin", password=PASSWORD) as tally:
        for number in range(10):
            tally.record(*CODES, str(number), timestamp=FIRST + number)
        assert tally.flush(slack(20))
        assert stored(tally) == [[str(number)] for number in range(10)]
