"""A person's data: found completely, handed over, and erased from wherever Tally has it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest
import zstandard

from app.exceptions import Forbidden, InputInvalid, SearchIncomplete
from app.services.operations import personal_data
from app.services.people import saved_views
from app.services.people.principal import SYSTEM, Principal
from app.store.database import database, release
from app.store.events import by_value, rejected, select
from app.store.events import erase as erasing
from app.store.models import AuditEntry, Event, RejectedRequest, Report, SavedView
from tests.services.events.test_spool import Outage
from tests.store.events.test_hourly_counts import counts, truth
from tests.support.client import FIRST, event
from tests.support.running import ROOT

pytestmark = [pytest.mark.both_databases, pytest.mark.settings(spool=True)]

VALUE = "u-17 ä"
FORMS = {VALUE.encode(), json.dumps(VALUE)[1:-1].encode(), orjson.dumps(VALUE)[1:-1]}
LIMITED = Principal(1, "otto", "admin", ("BARCHART",), "")
ANALYST = Principal(2, "anna", "analyst", None, "")


@pytest.fixture
def data(services) -> personal_data.PersonalData:
    return services.personal_data


@pytest.fixture
def erase(data):
    """Return a function that erases the data of a value, and returns the receipt."""

    def run(value: str = VALUE, who: Principal = SYSTEM, *, delete_files: bool = True, **wanted: str) -> dict:
        receipt, _ = data.erase(who, {"value": value} | wanted, delete_files=delete_files)
        return receipt.as_json()

    return run


@pytest.fixture
def hand_over(data):
    """Return a function that returns the lines of what is handed over."""

    def run(value: str = VALUE, who: Principal = SYSTEM, **wanted: str) -> list[dict]:
        found = data.find(who, {"value": value} | wanted)
        return [json.loads(line) for line in b"".join(data.hand_over(who, found)).splitlines()]

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Return everything that is stored: each value of each table, decompressed, and each file."""
    found: dict[str, bytes] = {}
    for table in database.get_tables():
        columns = [column.name for column in database.get_columns(table)]
        for number, row in enumerate(database.execute_sql(f'SELECT * FROM "{table}"').fetchall()):
            for column, value in zip(columns, row, strict=True):
                data = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                if data.startswith(zstandard.FRAME_HEADER):
                    data = zstandard.decompress(data)
                found[f"{table}.{column} {number}"] = data
    if database.has_one_writer:
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    release()
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found[str(path)] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


def places_of(folder: Path, forms: set[bytes] = FORMS) -> set[str]:
    return {place for place, data in contents(folder).items() if any(form in data for form in forms)}


def refuse(nobody, services, *sent: object, **headers: str) -> None:
    answer = nobody.post("/events", list(sent), headers=headers)
    assert answer.status_code == (200 if headers else 400)
    services.rejected.flush()


LENIENT = {"Prefer": "handling=lenient"}


@pytest.fixture
def everything(nobody, admin, services, monkeypatch) -> dict[str, str]:
    """Store the value in every place that Tally has, and next to it the same of other people."""
    outage = Outage(monkeypatch)
    both = [event(context=[VALUE, "a"]), event(context=["u-18", "b"])]
    nobody.send(*both, event(customer="OTHER", product="WATCHLIST", context=["x", None, "1", "2", "3", VALUE]))
    nobody.post("/events", both, headers={"Idempotency-Key": "first"})
    nobody.post("/events", [event(context=["u-19"])], headers={"Idempotency-Key": "second"})
    wrong = [event(context=[who], timestamp=-1) for who in (VALUE, "u-18")]
    wrong += [event(context={"user": {"id": [who]}}) for who in (VALUE, "u-18")]
    wrong += [{"user": who} for who in (VALUE, "u-18")]
    refuse(nobody, services, *wrong, **LENIENT)
    mixed = [event(context=[VALUE]), event(customer="OTHER", context=[VALUE]), event(context=["u-18"]), {"user": VALUE}]
    refuse(nobody, services, *mixed)
    refuse(nobody, services, event(context=["u-18"], userId=VALUE), {})
    job, _ = admin.run_report()
    zipped, _ = admin.run_report({"compression": "gzip"})
    other, _ = admin.run_report(customer="OTHER", product="WATCHLIST")
    without, _ = admin.run_report(start=FIRST + 1)
    waiting = admin.start_report()
    with outage:
        nobody.post("/events", [*both, event(timestamp=FIRST + 5)], headers={"Idempotency-Key": "spooled"})
    names = {"job": job, "zipped": zipped, "other": other, "without": without, "waiting": waiting}
    return {name: found["source"] for name, found in names.items()}


def test_no_table_file_or_spool_has_the_value_after_an_erasure(everything, erase, settings, services, admin):
    folder = settings.data_dir
    before = places_of(folder)
    for place in ("event.", "rejected_event.", "rejected_request.", "idempotency_key.", "/reports/", "/spool/"):
        assert any(place in found for found in before), place
    others = places_of(folder, {b"u-18", b"u-19"})
    receipt = erase()
    assert places_of(folder) == set()
    assert counts() == truth()
    services.runner.run(everything["waiting"].removeprefix("JOB-"))
    assert admin.download(everything["waiting"]).count(b"u-18") == 2
    assert places_of(folder) == set()
    kept = {place.split(" ")[0] for place in places_of(folder, {b"u-18", b"u-19"}) if "." in place.split("/")[0]}
    assert kept == {place.split(" ")[0] for place in others if "." in place.split("/")[0]}
    assert receipt["removed"] == {
        "events": 4,
        "rejected": 4,
        "refused": 3,
        "stored_responses": 2,
        "delivered_from_spool": 3,
    }
    deleted = {everything[name] for name in ("job", "zipped", "other")}
    assert ({*receipt["reports"]["deleted"]}, receipt["reports"]["restarted"]) == (deleted, [everything["waiting"]])


def save_views() -> None:
    """Save views of two users, most of which seek the value."""
    boss, anna = Principal(1, "boss", "admin", None, ""), Principal(2, "anna", "analyst", None, "")
    saved_views.add(boss, "events", urlencode({"value": VALUE}), VALUE, is_shared=True)
    saved_views.add(anna, "events", urlencode({"customer": "BARCHART", "context": "userId", "value": VALUE}), "2")
    saved_views.add(anna, "events", urlencode({"customer": "OTHER", "value": VALUE}), "3")
    saved_views.add(anna, "rejected_list", urlencode({"text": VALUE}), "4")
    saved_views.add(anna, "events", urlencode({"value": f"{VALUE} and more"}), "5")


@pytest.mark.parametrize(
    ("who", "wanted", "left"),
    [
        (SYSTEM, {}, ["5"]),
        (SYSTEM, {"customer": "OTHER"}, [VALUE, "2", "4", "5"]),
        (LIMITED, {}, [VALUE, "3", "4", "5"]),
    ],
)
def test_saved_views_that_seek_the_value_are_removed_and_listed(services, erase, settings, who, wanted, left):
    for number, name in enumerate(("boss", "anna")):
        services.accounts.add(name, "admin", None, f"correct horse {number}")
    save_views()
    receipt = erase(who=who, **wanted)
    assert [view.name for view in SavedView.select().order_by(SavedView.id)] == left
    assert len(receipt["saved_views"]) == 5 - len(left)
    assert not any(form in orjson.dumps(receipt) for form in FORMS)
    for row in AuditEntry.select():
        assert not any(form in f"{row.object} {row.details}".encode() for form in FORMS)
        assert urlencode({"value": VALUE}) not in str(row.details)


def test_a_caller_who_may_not_remove_views_of_others_learns_of_none(services, data):
    save_views()
    assert data.find(ANALYST, {"value": VALUE}).views == []


def test_the_receipt_says_what_was_removed_where_without_the_value(everything, erase):
    receipt = erase()
    assert receipt["by_customer_and_product"] == [
        {"customer": "", "product": "", "events": 0, "rejected": 2, "refused": 1},
        {"customer": "BARCHART", "product": "PORTFOLIO", "events": 3, "rejected": 2, "refused": 1},
        {"customer": "OTHER", "product": "PORTFOLIO", "events": 0, "rejected": 0, "refused": 1},
        {"customer": "OTHER", "product": "WATCHLIST", "events": 1, "rejected": 0, "refused": 0},
    ]
    entries = {row.action: row for row in AuditEntry.select()}
    assert entries[personal_data.ERASED].details["receipt"] == receipt
    assert entries[personal_data.STARTED].details["events"] == 4
    for row in entries.values():
        assert not any(form in orjson.dumps(row.details) for form in FORMS)


def test_an_answer_that_is_sent_again_has_the_events_without_their_context(everything, erase, nobody):
    both = [event(context=[VALUE, "a"]), event(context=["u-18", "b"])]
    erase()
    again = nobody.post("/events", both, headers={"Idempotency-Key": "first"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [one["context"] for one in again.get_json()] == [[], ["u-18", "b"]]
    assert select.count() == 5


def test_everything_is_handed_over(everything, hand_over, erase):
    lines = hand_over()
    assert [line["state"] for line in lines] == ["stored"] * 4 + ["rejected"] * 4 + ["refused"] * 2
    assert [line["context"] for line in lines[:4]] == [[VALUE, "a"]] * 3 + [["x", None, "1", "2", "3", VALUE]]
    assert lines[4]["event"] == event(context=[VALUE], timestamp=-1)
    assert lines[4]["reasons"]
    row = AuditEntry.get(AuditEntry.action == "personal data handed over")
    assert (row.details["events"], row.details["customers"]) == (4, ["", "BARCHART", "OTHER"])
    erase()
    assert hand_over() == []


def test_a_limited_admin_reaches_only_their_customers(everything, erase, hand_over, settings):
    assert {line.get("customer") for line in hand_over(who=LIMITED) if line["state"] == "stored"} == {"BARCHART"}
    receipt = erase(who=LIMITED)
    assert {row["customer"] for row in receipt["by_customer_and_product"]} == {"BARCHART"}
    assert [row.customer for row in Event.select() if VALUE in row.context] == ["OTHER"]
    remaining = {one.event for one in rejected.newest(20) if '"u-17' in one.event}
    assert remaining == {orjson.dumps({"user": VALUE}).decode()}
    mixed = zstandard.decompress(RejectedRequest.get(RejectedRequest.events == 4).body)
    assert mixed.count(b"u-17") == 2
    assert everything["other"] not in receipt["reports"]["deleted"]


def test_a_caller_without_access_to_rejected_events_gets_stored_ones_only(everything, hand_over):
    assert {line["state"] for line in hand_over(who=ANALYST)} == {"stored"}


def test_a_customer_narrows_the_search(everything, data, hand_over):
    assert {line["customer"] for line in hand_over(customer="OTHER") if line["state"] == "stored"} == {"OTHER"}
    with pytest.raises(Forbidden, match="You may not see data of the customer OTHER"):
        data.find(LIMITED, {"value": VALUE, "customer": "OTHER"})


def test_report_files_stay_unless_they_are_to_be_deleted(everything, erase, admin):
    receipt = erase(delete_files=False)
    kept = {everything[name] for name in ("job", "zipped", "other", "waiting")}
    assert ({*receipt["reports"]["kept"]}, receipt["reports"]["deleted"]) == (kept, [])
    assert admin.download(everything["job"])


def test_only_the_named_item_is_searched_if_there_is_a_name(nobody, services, data, erase):
    types = [{"code": "OPENED", "description": "", "product": "PORTFOLIO", "context": ["viewName", "userId"]}]
    services.catalog.put(orjson.dumps({"types": types}))
    nobody.send(event(type="OPENED", context=["a", VALUE]), event(type="OPENED", context=[VALUE, "a"]))
    nobody.send(event(context=["a", VALUE]))
    wrong = [event(type="OPENED", context=items, timestamp=-1) for items in (["a", VALUE], [VALUE, "a"], VALUE)]
    refuse(nobody, services, *wrong, **LENIENT)
    assert erase(item="userId")["removed"]["events"] == 1
    assert sorted(one.place for one in rejected.newest(9)) == [2, 3]
    with pytest.raises(InputInvalid) as error:
        data.find(SYSTEM, {"value": VALUE, "item": "userID"})
    assert error.value.field_errors[0].message.startswith('item is "userID", which no event type')


@pytest.mark.parametrize(
    ("sent", "is_match"),
    [
        (event(context=["7"], timestamp=-1), True),
        (event(context=[7], timestamp=-1), True),
        (event(context=["77", "a 7"], timestamp=-1), False),
        (event(customer="7", timestamp=-1, product="7", type="7", version="7"), False),
        (event(timestamp=7, type=""), False),
        ({"7": "key"}, False),
        ({"data": {"7": "key"}}, True),
        ("7", True),
        ([[["7"]]], True),
    ],
)
def test_a_rejected_event_matches_wherever_it_has_exactly_the_value(nobody, services, data, sent, is_match):
    refuse(nobody, services, sent, **LENIENT)
    assert data.find(SYSTEM, {"value": "7"}).total.rejected == is_match


def test_a_broken_line_matches_if_it_has_the_value_in_quotes(nobody, services, data):
    lines = b'{"customer": "B", "context": ["7",]}\n{"customer": "B", "context": ["17",]}'
    headers = {"Prefer": "handling=lenient"}
    nobody.post("/events", lines, content_type="application/x-ndjson", headers=headers)
    services.rejected.flush()
    assert data.find(SYSTEM, {"value": "7"}).total.rejected == 1


def test_nothing_is_removed_while_the_spool_cannot_be_emptied(everything, data, erase, monkeypatch, services):
    monkeypatch.setattr(personal_data, "SPOOL_SECONDS", 0)
    monkeypatch.setattr(services.spool, "deliver", lambda: None)
    number = select.count()
    with pytest.raises(SearchIncomplete, match="because 3 events are still in this host's spool"):
        erase()
    assert (select.count(), Report.select().where(Report.removed).count()) == (number, 0)


def test_a_search_that_takes_too_long_is_no_result(nobody, data, monkeypatch):
    monkeypatch.setattr(by_value, "STEP", 1)
    nobody.send(*[event(context=["u-20"]) for _ in range(4)])
    assert data.find(SYSTEM, {"value": "u-20"}, 60).total.events == 4
    with pytest.raises(SearchIncomplete, match="time limit after 25 % of the events"):
        data.find(SYSTEM, {"value": "u-20"}, 0)


@pytest.mark.parametrize("step", ["_clear_answers", "erase_from", "erase_keys", "newest_report"])
def test_an_interrupted_erasure_is_finished_by_the_next(everything, erase, settings, monkeypatch, step):
    """Each step may be the last of a process that is killed."""
    with monkeypatch.context() as patch:
        target = personal_data if hasattr(personal_data, step) else erasing

        def die(*args: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(target, step, die)
        with pytest.raises(KeyboardInterrupt):
            erase()
    assert places_of(settings.data_dir)
    erase()
    assert places_of(settings.data_dir) == set()
    assert counts() == truth()


def test_an_erasure_whose_process_is_killed_is_finished_by_the_next(nobody, erase, settings, tmp_path):
    nobody.send(*[event(context=[VALUE, str(number)], customer=f"C{number}") for number in range(4)])
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from app import create_app
from app.services.people.principal import SYSTEM
def die(number):
    os.kill(os.getpid(), signal.SIGKILL)
create_app().extensions["services"].personal_data.erase(
    SYSTEM, {{"value": {VALUE!r}}}, delete_files=True, progress=die)
"""
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(settings.data_dir.absolute())}
    environment["DATABASE_URL"] = settings.database_url
    process = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=False)
    assert (process.returncode, select.count()) == (-signal.SIGKILL, 3)
    assert counts() == truth()
    assert [row.action for row in AuditEntry.select()] == [personal_data.STARTED]
    assert erase()["removed"]["events"] == 3
    assert (select.count(), counts()) == (0, {})


def test_a_follower_learns_that_events_are_missing(nobody, admin, erase):
    nobody.send(event(context=[VALUE]), event(context=["u-18"]))
    first = admin.get("/events/changes?limit=1").get_json()["next"]
    nobody.send(event(context=[VALUE]))
    erase()
    assert admin.get(f"/events/changes?after={first}").status_code == 410


def test_the_same_code_without_events_is_no_longer_observed(nobody, erase, services):
    nobody.send(event(context=[VALUE]), event(customer="OTHER", context=["u-18"]))
    erase()
    assert services.catalog.known()[0] == ["OTHER"]
