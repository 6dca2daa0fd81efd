"""`flask events erase`: a look first, then exactly what was named, with its copies told of."""

from __future__ import annotations

import json
import re

import pytest

from app.store.catalog import catalog
from app.store.events import erase as erasing
from app.store.events import hourly_counts, rejected, select
from app.store.models import AuditEntry, Event
from tests.store.events.test_hourly_counts import count_all, counts, truth
from tests.support.client import FIRST, event
from tests.support.rows import fill

DAY_MS = 86_400_000


@pytest.fixture
def stored(nobody):
    nobody.send(
        event(context=["1", "user-7"]),
        event(context=["2", "user-8"], timestamp=FIRST + DAY_MS),
        event(context=["3", "user-7"], product="WATCHLIST", type="OPENED"),
        event(context=["4", "user-7"], customer="OTHER"),
    )


def left() -> str:
    return "".join(sorted(row.context[0] for row in Event.select()))


def test_without_yes_it_only_says_what_would_go(succeeds, stored):
    said = succeeds("events", "erase", "--customer", "BARCHART")
    assert said == "3 events would be erased.\nNothing is erased yet. To erase, run this again with --yes.\n"
    assert left() == "1234"
    assert AuditEntry.select().count() == 0


def test_with_yes_they_are_gone_and_the_counts_with_them(succeeds, stored):
    assert succeeds("events", "erase", "--customer", "BARCHART", "--yes") == "3 events erased.\n"
    assert left() == "4"
    assert counts() == truth()
    assert catalog.seen() == [("OTHER", "PORTFOLIO", "PORTFOLIO-APPLICATION-LOADED")]


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        (["--product", "WATCHLIST"], "124"),
        (["--type", "OPENED", "--type", "CLOSED"], "124"),
        (["--context", "user-7"], "24"),
        (["--context", "user"], "1234"),
        (["--before", str(FIRST + 1)], "24"),
        (["--before", "2026-10-27"], "24"),
        (["--after", "2026-10-27"], "134"),
        (["--after", "2026-10-27T07:33:20.000Z", "--before", "2026-10-27T07:33:21"], "134"),
        (["--batch", "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b"], "1234"),
    ],
)
def test_what_is_named_beside_the_customer_narrows_it(succeeds, stored, named, kept):
    succeeds("events", "erase", "--customer", "BARCHART", "--yes", *named)
    assert left() == kept
    assert counts() == truth()


def test_it_tells_programs_in_json(prints, stored):
    found = prints("events", "erase", "--customer", "BARCHART", "--context", "user-7")
    assert found == {"events": 2, "rejected": 0, "erased": None, "reports": [], "files_deleted": False}
    found = prints("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes")
    assert (found["events"], found["erased"]) == (2, 2)


def test_where_there_is_nothing_it_says_so(succeeds, stored):
    assert succeeds("events", "erase", "--customer", "NOBODY") == "There are no such events.\n"
    assert succeeds("events", "erase", "--customer", "NOBODY", "--yes") == "There are no such events.\n"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (["--customer", ""], "customer has 0 characters"),
        (["--product", "x" * 129], "product has 129 characters"),
        (["--type", "a\nb"], "types[0] has a control character"),
        (["--before", "yesterday"], 'before is "yesterday"; it must be a day such as 2026-11-23'),
        (["--before", "2026-02-30"], 'before is "2026-02-30"; it must be a day'),
        (["--after", "1969-12-31"], 'after is "1969-12-31"; it must be a day'),
        (["--after", "2026-11-02", "--before", "2026-11-02"], "before is not later than after; no event could fit."),
        (["--batch", "7"], 'batch is "7"; it must be the UUID of a batch'),
        (["--context", "x" * 4097], "it must be a string of at most 4,096 characters"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_goes(fails, stored, named, told):
    assert told in fails("events", "erase", "--customer", "BARCHART", "--yes", *named)
    assert left() == "1234"


def test_a_customer_must_be_named(flask, stored):
    assert flask("events", "erase", "--yes").exit_code == 2
    assert left() == "1234"


def test_it_stands_in_the_audit_log_without_what_identifies_a_person(succeeds, stored):
    succeeds("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes")
    (row,) = AuditEntry.select()
    assert (row.action, row.object, row.customer) == ("events erased", "customer BARCHART", "BARCHART")
    assert row.details["events"] == 2
    assert "user-7" not in json.dumps(row.details)


def test_rejected_events_that_fit_go_as_well(succeeds, nobody, services):
    wrong = [event(context=["user-7"], timestamp=-1), event(context=["user-8"], timestamp=-1)]
    wrong += [event(customer="OTHER", context=["user-7"], timestamp=-1), {"customer": "BARCHART"}, "nothing"]
    wrong += [event(context=[7, "user-7"], type=""), event(product=5, context="user-7")]
    nobody.post("/events", wrong, headers={"Prefer": "handling=lenient"})
    services.rejected.flush()
    said = succeeds("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes")
    assert said == "0 events erased.\n2 rejected events erased as well.\n"
    assert sorted(one.place for one in rejected.newest(10)) == [2, 3, 4, 5, 7]


def test_rejected_events_fit_by_their_time_where_they_have_one(succeeds, nobody, services):
    wrong = [event(type="", timestamp=time) for time in (10, 20)] + [event(type="", timestamp="soon")]
    nobody.post("/events", wrong, headers={"Prefer": "handling=lenient"})
    services.rejected.flush()
    succeeds("events", "erase", "--customer", "BARCHART", "--before", "20", "--yes")
    assert sorted(one.place for one in rejected.newest(10)) == [2, 3]


@pytest.fixture
def complete(admin, stored) -> dict[str, dict]:
    """Reports with their files, by what they hold."""
    types = ["PORTFOLIO-APPLICATION-LOADED"]
    return {
        "first": admin.run_report(end=FIRST)[0],
        "second": admin.run_report(start=FIRST + 1)[0],
        "other": admin.run_report(customer="OTHER")[0],
        "product": admin.run_report(product="WATCHLIST", types=["OPENED"])[0],
        "typed": admin.run_report(product="WATCHLIST", types=types)[0],
    }


def test_report_files_that_hold_some_of_them_are_named_and_stay(prints, succeeds, complete, admin):
    named = ["events", "erase", "--customer", "BARCHART", "--context", "user-7"]
    held = [complete["first"]["source"], complete["product"]["source"]]
    assert prints(*named)["reports"] == held
    said = succeeds(*named, "--yes")
    assert "2 reports hold some of them:" in said
    assert re.findall(r"JOB-\S+", said) == held
    assert "To delete them too, add --delete-files." in said
    assert admin.download(held[0])


def test_report_files_go_where_it_is_asked_for(succeeds, complete, admin, nobody, settings):
    succeeds("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes", "--delete-files")
    for name, job in complete.items():
        link = admin.get(f"/reports/{job['source']}", headers={"Accept": "application/json"})
        assert link.status_code == (410 if name in ("first", "product") else 200), name
    assert len(list(settings.data_dir.glob("reports/*"))) == 3


def test_a_report_from_before_the_events_holds_none_of_them(prints, admin, nobody):
    nobody.send(event())
    admin.run_report()
    nobody.send(event(context=["user-9"]))
    assert prints("events", "erase", "--customer", "BARCHART", "--context", "user-9")["reports"] == []


def test_a_report_that_waits_is_written_without_them(succeeds, admin, nobody, services):
    nobody.send(event(context=["1"]), event(context=["2"]))
    job = admin.start_report()
    succeeds("events", "erase", "--customer", "BARCHART", "--context", "1", "--yes", "--delete-files")
    services.runner.run(job["job"])
    assert admin.availability(job["source"])["status"] == "COMPLETE"
    assert b"|2\n" in admin.download(job["source"])
    assert b"|1\n" not in admin.download(job["source"])


def test_one_that_fails_halfway_says_how_far_it_came(flask, monkeypatch, nobody):
    from app.exceptions import StoreUnavailable

    monkeypatch.setattr(erasing, "CHUNK", 100)
    fill(250)
    erase, gone = erasing._erase, []

    def failing(*chunk):
        if len(gone) == 2:
            raise StoreUnavailable("The database cannot be reached.")
        gone.append(erase(*chunk))  # on a slow machine the second chunk is smaller
        return gone[-1]

    monkeypatch.setattr(erasing, "_erase", failing)
    result = flask("events", "erase", "--customer", "BARCHART", "--yes")
    assert result.exit_code == 1
    assert f"Stopped: {sum(gone)} events erased. Run it again for the rest." in result.stderr
    assert (select.count(), counts()) == (250 - sum(gone), truth())


def test_nothing_expires_unless_days_are_set(nobody, services):
    nobody.send(event(timestamp=0))
    services.scheduler.run_all()
    assert select.count() == 1


@pytest.mark.settings(event_keep_days=30)
def test_events_expire_by_their_timestamp(nobody, services, monkeypatch):
    monkeypatch.setattr("app.services.operations.retention.server_time", lambda: FIRST + 30 * DAY_MS)
    monkeypatch.setattr(erasing, "CHUNK", 2)
    nobody.send(*[event(timestamp=FIRST + number, product="AB"[number % 2]) for number in range(-5, 5)])
    services.scheduler.run_all()
    services.scheduler.run_all()
    assert sorted(row.timestamp for row in Event.select()) == [FIRST + number for number in range(5)]
    assert counts() == truth()


@pytest.mark.settings(event_keep_days=30)
def test_expiry_stops_after_a_while_and_goes_on_the_next_time(app, services, monkeypatch):
    monkeypatch.setattr("app.services.operations.retention.BUDGET_SECONDS", 0)
    monkeypatch.setattr("app.services.operations.retention.server_time", lambda: FIRST + 99 * DAY_MS)
    monkeypatch.setattr(erasing, "CHUNK", 400)
    fill(1_000)
    count_all()
    for number in (600, 200, 0):
        services.scheduler._expire()
        assert select.count() == number
        assert counts() == truth()
    services.scheduler._expire()
    assert catalog.seen() == []


@pytest.mark.settings(event_keep_days=1)
def test_what_is_not_counted_yet_expires_once_it_is(nobody, services):
    nobody.send(event(timestamp=5))
    services.scheduler._expire()
    assert select.count() == 1
    hourly_counts.advance()
    services.scheduler._expire()
    assert (select.count(), counts()) == (0, {})
