"""The audit log: each action and its entry are committed together, and entries are visible by permission."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app.exceptions import AccountInvalid, InputInvalid, StoreUnavailable
from app.services.people import audit
from app.services.people.audit import ACTIONS, nobody
from app.services.people.principal import ADMIN, ANALYST, OPERATOR, SYSTEM, Principal
from app.store.database import transaction
from app.store.events import rejected
from app.store.events.rejected_groups import Key
from app.store.models import AuditEntry, Report
from app.store.people import audit as store
from app.store.people.audit import AuditFilter
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import Client, event

BOSS = Principal(1, "boss", ADMIN, None, "", "192.0.2.7")
OLGA = Principal(2, "olga", OPERATOR, None, "", "192.0.2.8")
OTTO = Principal(3, "otto", OPERATOR, ("BARCHART",), "", "192.0.2.9")
ANNA = Principal(4, "anna", ANALYST, ("BARCHART",), "", "2001:db8::1")
ALL = AuditFilter()


pytestmark = pytest.mark.usefixtures("services")


def visible_entries(reader: Principal, audit_filter: AuditFilter = ALL) -> list[tuple[str, str, str]]:
    """Return who, action and object of the visible entries, newest first."""
    return [(entry.who, entry.action, entry.object) for entry in audit.page(reader, audit_filter, 100).entries]


def test_an_entry_has_the_account_action_object_time_and_address():
    audit.note(ANNA, "report started", "report JOB-1", {"rows": 3, "types": ["A"], "end": None}, customer="BARCHART")
    audit.note(nobody("192.0.2.1"), "sign-in failed")
    entry, stranger = AuditEntry.select().order_by(AuditEntry.id)
    assert (entry.account, entry.who, entry.address) == (4, "anna", "2001:db8::1")
    assert (entry.action, entry.object, entry.customer) == ("report started", "report JOB-1", "BARCHART")
    assert entry.details == {"rows": 3, "types": ["A"], "end": None}
    assert entry.recorded_at > 1_700_000_000_000
    assert (stranger.account, stranger.who, stranger.address) == (None, "", "192.0.2.1")


def test_an_action_must_be_listed_with_a_permission_that_some_role_has():
    with pytest.raises(KeyError):
        audit.note(BOSS, "did something")
    assert all(BOSS.may(permission) for permission in ACTIONS.values())


def test_the_size_of_an_entry_is_limited():
    audit.note(BOSS, "user added", "x" * 9_000, {"y" * 900: "z" * 9_000, "list": ["w" * 900] * 900})
    entry = AuditEntry.get()
    assert len(entry.object) == 300
    assert [len(name) for name in entry.details] == [300, 4]
    assert [len(value) for value in entry.details.values()] == [1_000, 30]


def test_an_action_and_its_entry_are_committed_together_or_not_at_all():
    with pytest.raises(ZeroDivisionError), transaction():
        audit.note(BOSS, "user added", "user olga")
        raise ZeroDivisionError
    assert visible_entries(BOSS) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda services: services.accounts.add("olga", "operator", None, PASSWORD),
        lambda services: services.accounts.set_password("anna", "another password"),
        lambda services: services.accounts.remove("anna"),
        lambda services: services.ingest_keys.add("web"),
        lambda services: services.ingest_keys.revoke(services.ingest_keys.named("old")),
        lambda services: services.reports.retry(BOSS, Report.get()),
        lambda services: services.rejected_groups.purge(BOSS, Key("type", "missing", "", ""), 10**9),
    ],
)
def test_an_action_that_cannot_be_recorded_is_not_executed(app, services, monkeypatch, act):
    services.accounts.add("anna", "analyst", None, PASSWORD)
    services.ingest_keys.add("old")
    Client(app, None).send(event())
    report = services.reports.start(SYSTEM, {"customer": "BARCHART", "product": "PORTFOLIO"}, None)
    services.reports.cancel(SYSTEM, report)
    values = dict.fromkeys(("address", "request_id", "event", "customer", "product"), "") | {"type": "", "place": 1}
    rejected.add([{"received_at": 1, "reasons": [], "field": "type", "fault": "missing", **values}], 0)
    before = state(services)

    def away(**values: object) -> None:
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr(store, "add", away)
    with pytest.raises(StoreUnavailable):
        act(services)
    assert state(services) == before
    assert services.accounts.verify("anna", PASSWORD)


def state(services) -> list[object]:
    return [
        [account.name for account in services.accounts.everyone()],
        [(key.name, key.revoked_at) for key in services.ingest_keys.all()],
        [report.status for report in Report.select()],
        len(rejected.newest(10)),
    ]


def test_changes_of_users_are_recorded(services):
    boss = replace(BOSS, id=9)
    anna = services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD, by=boss)
    services.accounts.set_password("anna", "another password", by=boss)
    services.accounts.set_password("anna", "a third password", by=anna)
    services.accounts.change(anna, "operator", None, by=boss)
    services.accounts.remove("anna", by=BOSS)
    services.accounts.add("olga", "operator", None, PASSWORD)
    assert visible_entries(BOSS) == [
        ("system", "user added", "user olga"),
        ("boss", "user removed", "user anna"),
        ("boss", "user changed", "user anna"),
        ("anna", "password changed", "user anna"),
        ("boss", "password reset", "user anna"),
        ("boss", "user added", "user anna"),
    ]
    assert AuditEntry.get(AuditEntry.id == 1).details == {"role": "analyst", "customers": ["BARCHART"]}
    assert AuditEntry.get(AuditEntry.action == "user changed").details == {
        "old role": "analyst",
        "new role": "operator",
        "old customers": ["BARCHART"],
        "new customers": None,
    }
    assert "password" not in "".join(str(entry.details) for entry in AuditEntry.select())


def test_changes_of_keys_are_recorded_without_the_key(services):
    key, token = services.ingest_keys.add("web", ["BARCHART"], by=BOSS)
    services.ingest_keys.revoke(key, by=OLGA)
    assert visible_entries(BOSS) == [("olga", "key revoked", "key web"), ("boss", "key added", "key web")]
    stored = "".join(f"{entry.object}{entry.details}" for entry in AuditEntry.select())
    assert key.hint in stored
    assert token[len(key.hint) :] not in stored


def test_a_failed_action_is_not_recorded(services):
    services.accounts.add("anna", "analyst", None, PASSWORD, by=BOSS)
    services.ingest_keys.add("web", by=BOSS)
    for wrong in (
        lambda: services.accounts.add("anna", "analyst", None, PASSWORD),
        lambda: services.accounts.add("olga", "analyst", None, "short"),
        lambda: services.accounts.set_password("nobody", PASSWORD),
        lambda: services.accounts.remove("nobody"),
        lambda: services.ingest_keys.add("web"),
    ):
        with pytest.raises((AccountInvalid, InputInvalid)):
            wrong()
    assert [action for _, action, _ in visible_entries(BOSS)] == ["key added", "user added"]


@pytest.fixture
def mixed_entries(services) -> None:
    """Add entries of several users, actions and customers."""
    audit.note(BOSS, "user added", "user anna")
    audit.note(OLGA, "signed in")
    audit.note(OLGA, "catalog changed", "product PORTFOLIO")
    audit.note(ANNA, "report started", "report JOB-1", {"product": "100%_SURE"}, customer="BARCHART")
    audit.note(OLGA, "report started", "report JOB-2", customer="FERNHILL")
    audit.note(OTTO, "signed in")


def objects(reader: Principal, audit_filter: AuditFilter = ALL) -> list[str]:
    return [f"{name}: {object or action}" for name, action, object in visible_entries(reader, audit_filter)]


@pytest.mark.usefixtures("mixed_entries")
@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (replace(OLGA, id=9), ["olga: report JOB-2", "anna: report JOB-1", "olga: product PORTFOLIO"]),
        (OLGA, ["olga: report JOB-2", "anna: report JOB-1", "olga: product PORTFOLIO", "olga: signed in"]),
        (ANNA, ["anna: report JOB-1"]),
        (OTTO, ["otto: signed in", "anna: report JOB-1"]),  # the catalog may name any customer
        (replace(ANNA, customers=("FERNHILL",)), []),
    ],
    ids=["operator", "own entries", "analyst", "limited operator", "customer taken away"],
)
def test_role_and_customers_limit_the_visible_entries_of_others(principal, expected):
    assert objects(principal) == expected
    assert len(visible_entries(BOSS)) == len(visible_entries(SYSTEM)) == 6


@pytest.mark.usefixtures("mixed_entries")
class TestFilters:
    @pytest.mark.parametrize(
        ("audit_filter", "expected"),
        [
            (AuditFilter(who="anna"), ["anna: report JOB-1"]),
            (AuditFilter(action="signed in"), ["otto: signed in", "olga: signed in"]),
        ],
    )
    def test_by_account_and_by_action(self, audit_filter, expected):
        assert objects(BOSS, audit_filter) == expected

    @pytest.mark.parametrize(
        ("text", "expected"), [("job-", 2), ("JOB-1", 1), ("sure", 1), ("100%_S", 1), ("0_%", 0), ("%", 1), ("\\", 0)]
    )
    def test_by_text_without_case_and_wildcards(self, text, expected):
        assert len(visible_entries(BOSS, AuditFilter(text=text))) == expected

    def test_by_time_with_both_ends_included(self):
        AuditEntry.update(recorded_at=AuditEntry.id * 10).execute()
        assert len(visible_entries(BOSS, AuditFilter(start=20, end=40))) == 3

    def test_consecutive_pages_have_no_gap(self):
        first = audit.page(BOSS, AuditFilter(), 4)
        second = audit.page(BOSS, AuditFilter(), 4, first.next)
        assert [entry.id for entry in first.entries + second.entries] == [6, 5, 4, 3, 2, 1]
        assert second.next is None


def test_entries_are_purged_at_their_age_limit(services):
    audit.note(BOSS, "signed in")
    audit.note(BOSS, "signed out")
    AuditEntry.update(recorded_at=AuditEntry.recorded_at - 366 * 86_400_000).where(AuditEntry.id == 1).execute()
    services.scheduler.run_all()
    assert visible_entries(BOSS) == [("boss", "signed out", "")]


def test_imports_by_commands_are_recorded(app, tmp_path):
    (tmp_path / "catalog.json").write_text('{"customers": [{"code": "A"}], "products": [], "types": []}')
    (tmp_path / "events.ndjson").write_text(f"{json.dumps(event())}\nno event\n")
    run = app.test_cli_runner().invoke
    assert run(args=["catalog", "import", str(tmp_path / "catalog.json")]).exit_code == 0
    assert run(args=["events", "import", str(tmp_path / "events.ndjson")]).exit_code == 3
    entries = audit.page(SYSTEM, ALL, 10).entries
    assert [(entry.who, entry.action, entry.object) for entry in entries] == [
        ("system", "events imported", "file events.ndjson"),
        ("system", "catalog imported", ""),
    ]
    assert entries[0].details == {"events": 1, "rejected": 1}
    assert entries[1].details == {"customers": 1, "products": 0, "types": 0}


def test_a_download_from_the_dashboard_is_recorded_with_the_signed_in_user(app, admin):
    admin.send(event())
    job, _ = admin.run_report()
    boss = Visitor(app).sign_in("admin")
    link = boss.get(f"/admin/reports/{job['source']}/download").headers["Location"]
    assert boss.get(link.removeprefix("https://tally.example")).status_code == 200
    entry = audit.page(SYSTEM, ALL, 1).entries[0]
    assert (entry.who, entry.action, entry.address) == ("admin", "report downloaded", "127.0.0.1")


def test_the_recipient_of_a_link_and_the_download_are_recorded(admin, nobody):
    admin.send(event())
    job, _ = admin.run_report()  # which also downloads the file
    link = admin.get(f"/reports/{job['source']}", headers={"Accept": "text/csv"}).headers["Location"]
    path = link.removeprefix("https://tally.example")
    options = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}}
    assert nobody.get(path, headers={"Range": "bytes=1-"}, **options).status_code == 206
    assert nobody.request("HEAD", path, **options).status_code == 200
    assert nobody.get(f"{path}x", **options).status_code == 403
    report = f"report {job['source']}"
    assert [
        (entry.who, entry.action, entry.address)
        for entry in audit.page(SYSTEM, ALL, 10).entries
        if entry.object == report
    ] == [
        ("", "report downloaded", "203.0.113.9"),
        ("admin", "report link given", "127.0.0.1"),
        ("", "report downloaded", "127.0.0.1"),
        ("admin", "report link given", "127.0.0.1"),
        ("admin", "report started", "127.0.0.1"),
    ]
    assert {entry.customer for entry in audit.page(SYSTEM, ALL, 5).entries} == {"BARCHART"}
