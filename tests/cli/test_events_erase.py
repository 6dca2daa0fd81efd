"""`flask events erase`: a dry run first, then exactly the selected events, with a list of reports that contain them."""

from __future__ import annotations

import json
import re

import pytest

from app.store.catalog import catalog
from app.store.database import database
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


def remaining() -> str:
    return "".join(sorted(row.context[0] for row in Event.select()))


def test_without_yes_it_only_prints_what_would_be_erased(succeeds, stored):
    output = succeeds("events", "erase", "--customer", "BARCHART")
    assert output == "3 events would be erased.\nNothing is erased yet. To erase, run this again with --yes.\n"
    assert remaining() == "1234"
    assert AuditEntry.select().count() == 0


def test_with_yes_the_events_are_erased_and_the_counts_corrected(succeeds, stored):
    assert succeeds("events", "erase", "--customer", "BARCHART", "--yes") == "3 events erased.\n"
    assert remaining() == "4"
    assert counts() == truth()
    assert catalog.seen() == [("OTHER", "PORTFOLIO", "PORTFOLIO-APPLICATION-LOADED")]


@pytest.mark.parametrize(
    ("options", "expected"),
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
def test_further_options_narrow_the_selection(succeeds, stored, options, expected):
    succeeds("events", "erase", "--customer", "BARCHART", "--yes", *options)
    assert remaining() == expected
    assert counts() == truth()


def test_with_json_the_result_is_machine_readable(prints, stored):
    result = prints("events", "erase", "--customer", "BARCHART", "--context", "user-7")
    assert result == {"events": 2, "rejected": 0, "erased": None, "reports": [], "files_deleted": False}
    result = prints("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes")
    assert (result["events"], result["erased"]) == (2, 2)


def test_without_matching_events_it_says_so(succeeds, stored):
    assert succeeds("events", "erase", "--customer", "NOBODY") == "There are no such events.\n"
    assert succeeds("events", "erase", "--customer", "NOBODY", "--yes") == "There are no such events.\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--customer", ""], "customer has 0 characters"),
        (["--product", "x" * 129], "product has 129 characters"),
        (["--type", "a\nb"], "types[0] has a control character"),
        (["--before", "yesterday"], 'before is "yesterday"; it must be a day (2026-11-01), ISO 8601'),
        (["--before", "2026-02-30"], 'before is "2026-02-30"; it must be a day'),
        (["--after", "1969-12-31"], 'after is "1969-12-31"; it must be a day'),
        (["--after", "2026-11-02", "--before", "2026-11-02"], "before is not later than after; no event could fit."),
        (["--batch", "7"], 'batch is "7"; it must be the UUID of a batch'),
        (["--context", "x" * 4097], "it must be a string of at most 4,096 characters"),
    ],
)
def test_an_invalid_option_is_named_and_nothing_is_erased(fails, stored, options, expected):
    assert expected in fails("events", "erase", "--customer", "BARCHART", "--yes", *options)
    assert remaining() == "1234"


def test_a_customer_is_required(flask, stored):
    assert flask("events", "erase", "--yes").exit_code == 2
    assert remaining() == "1234"


def test_the_audit_log_records_it_without_personal_data(succeeds, stored):
    succeeds("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes")
    (row,) = AuditEntry.select()
    assert (row.action, row.object, row.customer) == ("events erased", "customer BARCHART", "BARCHART")
    assert row.details["events"] == 2
    assert "user-7" not in json.dumps(row.details)


def test_matching_rejected_events_are_erased_too(succeeds, nobody, services):
    wrong = [event(context=["user-7"], timestamp=-1), event(context=["user-8"], timestamp=-1)]
    wrong += [event(customer="OTHER", context=["user-7"], timestamp=-1), {"customer": "BARCHART"}, "nothing"]
    wrong += [event(context=[7, "user-7"], type=""), event(product=5, context="user-7")]
    nobody.post("/events", wrong, headers={"Prefer": "handling=lenient"})
    services.rejected.flush()
    output = succeeds("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes")
    assert output == "0 events erased.\n2 rejected events erased as well.\n"
    assert sorted(reject.place for reject in rejected.newest(10)) == [2, 3, 4, 5, 7]


def test_rejected_events_match_by_their_time_if_they_have_one(succeeds, nobody, services):
    wrong = [event(type="", timestamp=time) for time in (10, 20)] + [event(type="", timestamp="soon")]
    nobody.post("/events", wrong, headers={"Prefer": "handling=lenient"})
    services.rejected.flush()
    succeeds("events", "erase", "--customer", "BARCHART", "--before", "20", "--yes")
    assert sorted(reject.place for reject in rejected.newest(10)) == [2, 3]


@pytest.fixture
def complete(admin, stored) -> dict[str, dict]:
    """Return complete reports with their files, by what they contain."""
    types = ["PORTFOLIO-APPLICATION-LOADED"]
    return {
        "first": admin.run_report(end=FIRST)[0],
        "second": admin.run_report(start=FIRST + 1)[0],
        "other": admin.run_report(customer="OTHER")[0],
        "product": admin.run_report(product="WATCHLIST", types=["OPENED"])[0],
        "typed": admin.run_report(product="WATCHLIST", types=types)[0],
    }


def test_report_files_that_contain_the_events_are_listed_and_remain(prints, succeeds, complete, admin):
    command = ["events", "erase", "--customer", "BARCHART", "--context", "user-7"]
    sources = [complete["first"]["source"], complete["product"]["source"]]
    assert prints(*command)["reports"] == sources
    output = succeeds(*command, "--yes")
    assert "2 reports contain some of them:" in output
    assert re.findall(r"JOB-\S+", output) == sources
    assert "To delete them too, add --delete-files." in output
    assert admin.download(sources[0])


def test_report_files_are_deleted_on_request(succeeds, complete, admin, nobody, settings):
    succeeds("events", "erase", "--customer", "BARCHART", "--context", "user-7", "--yes", "--delete-files")
    for name, job in complete.items():
        link = admin.get(f"/reports/{job['source']}", headers={"Accept": "application/json"})
        assert link.status_code == (410 if name in ("first", "product") else 200), name
    assert len(list(settings.data_dir.glob("reports/*"))) == 3


def test_a_report_started_before_the_events_does_not_contain_them(prints, admin, nobody):
    nobody.send(event())
    admin.run_report()
    nobody.send(event(context=["user-9"]))
    assert prints("events", "erase", "--customer", "BARCHART", "--context", "user-9")["reports"] == []


def test_a_waiting_report_is_written_without_the_events(succeeds, admin, nobody, services):
    nobody.send(event(context=["1"]), event(context=["2"]))
    job = admin.start_report()
    succeeds("events", "erase", "--customer", "BARCHART", "--context", "1", "--yes", "--delete-files")
    services.runner.run(job["job"])
    assert admin.availability(job["source"])["status"] == "COMPLETE"
    assert b"|2\n" in admin.download(job["source"])
    assert b"|1\n" not in admin.download(job["source"])


def test_a_failure_halfway_reports_the_number_of_erased_events(flask, monkeypatch, nobody):
    from app.exceptions import StoreUnavailable

    for name in ("CHUNK", "WHOLE"):
        monkeypatch.setattr(erasing, name, 100)
    fill(250)
    erase_chunk = "_erase_rows" if database.has_one_writer else "_erase_whole"
    erase, erased = getattr(erasing, erase_chunk), []

    def failing(*chunk):
        if len(erased) == 2:
            raise StoreUnavailable("The database cannot be reached.")
        number, position = erase(*chunk)
        erased.append(number)  # on a slow machine the second chunk is smaller
        return number, position

    monkeypatch.setattr(erasing, erase_chunk, failing)
    result = flask("events", "erase", "--customer", "BARCHART", "--yes")
    assert result.exit_code == 1
    assert f"Stopped: {sum(erased)} events erased. Run it again for the rest." in result.stderr
    assert (select.count(), counts()) == (250 - sum(erased), truth())


def test_nothing_expires_unless_days_are_configured(nobody, services):
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
def test_one_run_erases_all_expired_events_in_chunks(app, services, monkeypatch):
    monkeypatch.setattr("app.services.operations.retention.server_time", lambda: FIRST + 99 * DAY_MS)
    for name in ("CHUNK", "WHOLE"):
        monkeypatch.setattr(erasing, name, 400)
    fill(1_000)
    count_all()
    services.scheduler.expire()
    assert (select.count(), counts()) == (0, {})
    assert catalog.seen() == []


@pytest.mark.settings(event_keep_days=1)
def test_uncounted_events_expire_once_they_are_counted(nobody, services):
    nobody.send(event(timestamp=5))
    services.scheduler.expire()
    assert select.count() == 1
    hourly_counts.advance()
    services.scheduler.expire()
    assert (select.count(), counts()) == (0, {})
