"""Rejected events with timestamps in ISO 8601: a group of them is read, previewed and sent again."""

from __future__ import annotations

import json

import pytest

from app.services.events import rejected_groups
from app.services.events.resend import READ_TIMESTAMPS
from app.services.people.principal import SYSTEM
from app.store.events import rejected
from tests.admin.events.conftest import GROUP, audit_entries, sending, stored
from tests.admin.events.test_rejected_groups import up_to
from tests.support.client import event
from tests.support.rows import newest_events

READ = sending(change="timestamp-iso")
MOMENT = 1_795_431_420_000  # 2026-11-23T10:57:00Z


def test_the_preview_shows_times_before_and_after_and_counts_them(olga, refuse):
    texts = [
        "2026-11-23T10:57:00Z",
        "2026-11-23 10:57",
        "2026-11-23T11:57:00.123456789+01:00",
        "yesterday",
        "2026-11-23",
    ]
    refuse(*[event(timestamp=text) for text in texts], event(timestamp=-1))
    page = olga.read(olga.read(GROUP).link("Parse timestamps as ISO 8601"))
    rows = [row.text for row in page.first("table", class_="timestamps").all("tr")[1:]]
    assert rows[:3] == [
        f"{texts[2]} 2026-11-23 10:57:00.123 UTC {MOMENT + 123}",
        f"{texts[1]} 2026-11-23 10:57:00.000 UTC {MOMENT}",
        f"{texts[0]} 2026-11-23 10:57:00.000 UTC {MOMENT}",
    ]
    assert rows[3:] == [f"{sent} stays rejected" for sent in ("-1", texts[4], texts[3])]
    assert "Send 3 of 6 events again?" in page
    assert "would store them twice" not in page
    assert "3 can be parsed (1 without a zone, as UTC), and 3 cannot and stay unchanged." in page
    assert stored() == []


def test_the_preview_holds_few_events_at_once(olga, refuse, monkeypatch):
    """A rejected event may have a million characters."""
    monkeypatch.setattr(rejected_groups, "AT_ONCE", 2)
    limits = []
    newest = rejected.newest
    monkeypatch.setattr(rejected, "newest", lambda limit, **more: limits.append(limit) or newest(limit, **more))
    refuse(*[event(timestamp="2026-11-23T10:57:00Z") for _ in range(5)])
    assert "5 can be parsed" in olga.see(READ)
    assert limits[-4:] == [2, 2, 2, 2]
    monkeypatch.setattr(rejected_groups, "PREVIEWED", 3)
    assert "Of the latest 3 events, 3 can be parsed" in olga.see(READ)
    monkeypatch.setattr(rejected_groups, "PREVIEWED_BYTES", 1)
    assert "Of the latest 2 events, 2 can be parsed" in olga.see(READ)


def test_the_fix_is_offered_only_where_a_timestamp_can_be_read(olga, refuse):
    refuse(event(timestamp="soon"))
    assert olga.read(GROUP).link("Parse timestamps as ISO 8601") is None


def test_the_events_are_stored_with_the_times_that_they_had(olga, refuse):
    keys = refuse(event(timestamp="2026-11-23T10:57:00Z", own="kept"), event(timestamp="soon"))
    answer = olga.send(READ, {"up_to": up_to(olga, READ)})
    page = olga.read(answer.headers["Location"])
    assert '1 event is stored. 1 is still rejected. First reason: timestamp is "soon"' in page
    assert [row[2] for row in stored()] == [MOMENT]
    assert [row.id for row in rejected.newest(10)] == [keys[1]]
    assert audit_entries()[-1][2] == {"stored": 1, "refused": 1, "changed": "timestamp: parsed as ISO 8601"}


@pytest.mark.both_databases
def test_an_event_that_is_still_invalid_stays_with_its_new_reason_and_can_be_sent_later(olga, refuse, services):
    services.catalog.load_sample()
    services.catalog.strict = True
    refuse(event(timestamp="2026-11-23T10:57:00Z", customer="NEW"))
    answer = olga.send(READ, {"up_to": up_to(olga, READ)})
    assert answer.headers["Location"] == "/admin/rejected"  # nothing is left of the group
    (one,) = rejected.newest(10)
    assert (one.field, one.fault) == ("customer", "unknown")
    assert one.reasons[0].startswith('customer is "NEW", which is not known')
    assert json.loads(one.event)["timestamp"] == MOMENT
    services.catalog.strict = False
    group = sending(GROUP.replace("field=timestamp&fault=wrong", "field=customer&fault=unknown"))
    olga.send(group, {"up_to": up_to(olga, group)})
    assert [row[2] for row in stored()] == [MOMENT]
    assert rejected.newest(10) == []


@pytest.mark.both_databases
def test_timestamps_are_read_in_all_events_of_a_request_or_none_is_stored(nobody, services):
    sent = [event(context=["1"]), *[event(timestamp="2026-11-23T10:57:00Z", type=type) for type in ("A", "B", "A")]]
    nobody.post("/events", sent)
    nobody.post("/events", [*sent, event(context={})])
    services.rejected.flush()
    sends = list(services.resend.send_many(None, change=READ_TIMESTAMPS))
    assert sorted(outcome.events for outcome in sends if not outcome.reasons) == [4]
    assert [row.timestamp for row in newest_events(10)].count(MOMENT) == 3
    assert len({row.batch for row in newest_events(10)}) == 1
    assert len(rejected.newest(10)) == 4  # the other request is unchanged
    assert {row.event.count("2026-11-23T10:57:00Z") for row in rejected.newest(10) if row.field == "timestamp"} == {1}


def test_an_event_is_stored_and_removed_in_one_transaction(refuse, services, monkeypatch):
    refuse(event(timestamp="2026-11-23T10:57:00Z"))
    with monkeypatch.context() as patch:
        patch.setattr(rejected, "claim", lambda keys: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(services.resend.send_many(None, change=READ_TIMESTAMPS))
    assert stored() == []
    assert services.rejected.page(SYSTEM, 1)[0].field == "timestamp"
    list(services.resend.send_many(None, change=READ_TIMESTAMPS))
    assert len(stored()) == 1
