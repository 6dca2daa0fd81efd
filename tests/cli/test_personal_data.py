"""`tally events erase --value` and `tally events hand-over`."""

from __future__ import annotations

import json
import stat

import pytest

from app.store.events import select
from app.store.models import AuditEntry, Event
from tests.support.client import event


@pytest.fixture
def stored(nobody, services):
    nobody.send(event(context=["u-17"]), event(context=["u-18"]), event(customer="OTHER", context=["a", "u-17"]))
    wrong = [event(context=["u-17"], timestamp=-1), event(context=["u-18"], timestamp=-1)]
    nobody.post("/events", wrong, headers={"Prefer": "handling=lenient"})
    services.rejected.flush()


def test_without_yes_it_only_prints_what_would_be_erased(succeeds, prints, stored):
    assert succeeds("events", "erase", "--value", "u-17") == (
        "2 events, 1 rejected event, 0 events in refused requests would be erased:\n"
        "  BARCHART PORTFOLIO: 1 event, 1 rejected event, 0 events in refused requests\n"
        "  OTHER PORTFOLIO: 1 event, 0 rejected events, 0 events in refused requests\n"
        "Nothing is erased yet. To erase, run this again with --yes.\n"
    )
    assert prints("events", "erase", "--value", "u-17")["found"] == {"events": 2, "rejected": 1, "refused": 0}
    assert (select.count(), AuditEntry.select().count()) == (3, 0)


def test_with_yes_it_erases_and_prints_the_receipt(prints, succeeds, stored):
    receipt = prints("events", "erase", "--value", "u-17", "--yes")
    assert receipt["removed"]["events"] == 2
    entry = AuditEntry.get(AuditEntry.id == receipt.pop("audit_entry"))
    assert (entry.action, entry.details["receipt"]) == ("personal data erased", receipt)
    assert [row.context for row in Event.select()] == [["u-18"]]
    output = succeeds("events", "erase", "--value", "u-18", "--yes")
    assert output.startswith("1 event, 1 rejected event, 0 events in refused requests erased")
    assert "Backups of Tally" in output


def test_the_value_may_come_from_standard_input(flask, stored):
    result = flask("events", "erase", "--value", "-", "--yes", input="u-17\n")
    assert result.exit_code == 0
    assert select.count() == 1


def test_report_files_are_deleted_only_on_request(prints, stored, admin):
    source = admin.run_report()[0]["source"]
    assert prints("events", "erase", "--value", "u-17", "--yes")["reports"]["kept"] == [source]
    assert prints("events", "erase", "--value", "u-18", "--yes", "--delete-files")["reports"]["deleted"] == [source]


def test_a_customer_and_an_item_narrow_it(prints, fails, stored):
    assert prints("events", "erase", "--value", "u-17", "--customer", "OTHER")["found"]["events"] == 1
    assert 'item is "userId", which no event type' in fails("events", "erase", "--value", "u-17", "--item", "userId")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--value", "u", "--product", "P"], "--value cannot be combined with --product."),
        (["--value", "u", "--context", "u"], "--value cannot be combined with --context."),
        (["--value", "u", "--type", "T"], "--value cannot be combined with --type."),
        (["--item", "userId"], "Missing option --value with --item."),
        ([], "Missing option --customer, or --value for a person's data."),
    ],
)
def test_options_that_do_not_fit_together_are_a_wrong_call(flask, stored, options, expected):
    result = flask("events", "erase", "--yes", *options)
    assert (result.exit_code, expected in result.stderr) == (2, True)
    assert select.count() == 3


def test_an_empty_value_is_nobody(fails, stored):
    assert "it must be a string of 1 to 4,096 characters" in fails("events", "erase", "--value", "", "--yes")


def test_hand_over_writes_a_file_that_only_its_owner_can_read(succeeds, prints, stored, tmp_path):
    path = tmp_path / "u-17.jsonl"
    words = ["events", "hand-over", "--value", "u-17", "--output", path]
    assert prints(*words) == {"file": str(path), "events": 2, "rejected": 1, "refused": 0}
    assert [json.loads(line)["state"] for line in path.read_text().splitlines()] == ["stored", "stored", "rejected"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert succeeds(*words[:-1], "-") == path.read_text()
    assert AuditEntry.select().where(AuditEntry.action == "personal data handed over").count() == 2
