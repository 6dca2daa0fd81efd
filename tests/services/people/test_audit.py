"""The audit log: every act is noted with the act itself, and read by whoever may."""

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


def seen(by: Principal, sought: AuditFilter = ALL) -> list[tuple[str, str, str]]:
    """Return who, action and object of what somebody sees, newest first."""
    return [(one.who, one.action, one.object) for one in audit.page(by, sought, 100).entries]


def test_an_entry_says_who_did_what_to_what_when_and_from_where():
    audit.note(ANNA, "report started", "report JOB-1", {"rows": 3, "types": ["A"], "end": None}, customer="BARCHART")
    audit.note(nobody("192.0.2.1"), "sign-in failed")
    entry, stranger = AuditEntry.select().order_by(AuditEntry.id)
    assert (entry.account, entry.who, entry.address) == (4, "anna", "2001:db8::1")
    assert (entry.action, entry.object, entry.customer) == ("report started", "report JOB-1", "BARCHART")
    assert entry.details == {"rows": 3, "types": ["A"], "end": None}
    assert entry.moment > 1_700_000_000_000
    assert (stranger.account, stranger.who, stranger.address) == (None, "", "192.0.2.1")


def test_an_action_must_be_on_the_list_and_need_a_permission_that_some_role_has():
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
    assert seen(BOSS) == []


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
def test_what_cannot_be_noted_is_not_done(app, services, monkeypatch, act):
    services.accounts.add("anna", "analyst", None, PASSWORD)
    services.ingest_keys.add("old")
    Client(app, None).send(event())
    report = services.reports.start(SYSTEM, {"customer": "BARCHART", "product": "PORTFOLIO"}, None)
    services.reports.cancel(SYSTEM, report)
    values = dict.fromkeys(("address", "request_id", "event", "customer", "product"), "") | {"type": "", "place": 1}
    rejected.add([{"received": 1, "reasons": [], "field": "type", "fault": "missing", **values}], 0)
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
        [one.name for one in services.accounts.everyone()],
        [(key.name, key.revoked) for key in services.ingest_keys.all()],
        [report.status for report in Report.select()],
        len(rejected.newest(10)),
    ]


def test_users_are_noted(services):
    boss = replace(BOSS, id=9)
    anna = services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD, by=boss)
    services.accounts.set_password("anna", "another password", by=boss)
    services.accounts.set_password("anna", "a third password", by=anna)
    services.accounts.change(anna, "operator", None, by=boss)
    services.accounts.remove("anna", by=BOSS)
    services.accounts.add("olga", "operator", None, PASSWORD)
    assert seen(BOSS) == [
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
    assert "password" not in "".join(str(one.details) for one in AuditEntry.select())


def test_keys_are_noted_without_the_key(services):
    key, token = services.ingest_keys.add("web", ["BARCHART"], by=BOSS)
    services.ingest_keys.revoke(key, by=OLGA)
    assert seen(BOSS) == [("olga", "key revoked", "key web"), ("boss", "key added", "key web")]
    kept = "".join(f"{one.object}{one.details}" for one in AuditEntry.select())
    assert key.hint in kept
    assert token[len(key.hint) :] not in kept


def test_what_did_not_happen_is_not_noted(services):
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
    assert [action for _, action, _ in seen(BOSS)] == ["key added", "user added"]


@pytest.fixture
def a_day(services) -> None:
    """An entry of each kind."""
    audit.note(BOSS, "user added", "user anna")
    audit.note(OLGA, "signed in")
    audit.note(OLGA, "catalog changed", "product PORTFOLIO")
    audit.note(ANNA, "report started", "report JOB-1", {"product": "100%_SURE"}, customer="BARCHART")
    audit.note(OLGA, "report started", "report JOB-2", customer="FERNHILL")
    audit.note(OTTO, "signed in")


def objects(by: Principal, sought: AuditFilter = ALL) -> list[str]:
    return [f"{name}: {object or action}" for name, action, object in seen(by, sought)]


@pytest.mark.usefixtures("a_day")
@pytest.mark.parametrize(
    ("who", "found"),
    [
        (replace(OLGA, id=9), ["olga: report JOB-2", "anna: report JOB-1", "olga: product PORTFOLIO"]),
        (OLGA, ["olga: report JOB-2", "anna: report JOB-1", "olga: product PORTFOLIO", "olga: signed in"]),
        (ANNA, ["anna: report JOB-1"]),
        (OTTO, ["otto: signed in", "anna: report JOB-1"]),  # the catalog may name any customer
        (replace(ANNA, customers=("FERNHILL",)), []),
    ],
    ids=["operator", "own entries", "analyst", "limited operator", "customer taken away"],
)
def test_a_role_and_its_customers_limit_what_is_seen_of_others(who, found):
    assert objects(who) == found
    assert len(seen(BOSS)) == len(seen(SYSTEM)) == 6


@pytest.mark.usefixtures("a_day")
class TestFilters:
    @pytest.mark.parametrize(
        ("sought", "found"),
        [
            (AuditFilter(who="anna"), ["anna: report JOB-1"]),
            (AuditFilter(action="signed in"), ["otto: signed in", "olga: signed in"]),
        ],
    )
    def test_by_who_and_by_action(self, sought, found):
        assert objects(BOSS, sought) == found

    @pytest.mark.parametrize(
        ("text", "found"), [("job-", 2), ("JOB-1", 1), ("sure", 1), ("100%_S", 1), ("0_%", 0), ("%", 1), ("\\", 0)]
    )
    def test_by_text_in_any_case_with_signs_that_mean_themselves(self, text, found):
        assert len(seen(BOSS, AuditFilter(text=text))) == found

    def test_by_time_both_ends_included(self):
        AuditEntry.update(moment=AuditEntry.id * 10).execute()
        assert len(seen(BOSS, AuditFilter(start=20, end=40))) == 3

    def test_pages_follow_one_another_without_a_gap(self):
        first = audit.page(BOSS, AuditFilter(), 4)
        second = audit.page(BOSS, AuditFilter(), 4, first.next)
        assert [one.id for one in first.entries + second.entries] == [6, 5, 4, 3, 2, 1]
        assert second.next is None


def test_entries_go_when_their_time_is_over(services):
    audit.note(BOSS, "signed in")
    audit.note(BOSS, "signed out")
    AuditEntry.update(moment=AuditEntry.moment - 366 * 86_400_000).where(AuditEntry.id == 1).execute()
    services.scheduler.run_all()
    assert seen(BOSS) == [("boss", "signed out", "")]


def test_what_commands_import_is_noted(app, tmp_path):
    (tmp_path / "catalog.json").write_text('{"customers": [{"code": "A"}], "products": [], "types": []}')
    (tmp_path / "events.ndjson").write_text(f"{json.dumps(event())}\nno event\n")
    run = app.test_cli_runner().invoke
    assert run(args=["catalog", "import", str(tmp_path / "catalog.json")]).exit_code == 0
    assert run(args=["events", "import", str(tmp_path / "events.ndjson")]).exit_code == 3
    newest = audit.page(SYSTEM, ALL, 10).entries
    assert [(one.who, one.action, one.object) for one in newest] == [
        ("system", "events imported", "file events.ndjson"),
        ("system", "catalog imported", ""),
    ]
    assert newest[0].details == {"events": 1, "rejected": 1}
    assert newest[1].details == {"customers": 1, "products": 0, "types": 0}


def test_somebody_who_is_signed_in_is_named_as_who_downloads_a_file(app, admin):
    admin.send(event())
    job, _ = admin.run_report()
    boss = Visitor(app).sign_in("admin")
    link = boss.get(f"/admin/reports/{job['source']}/download").headers["Location"]
    assert boss.get(link.removeprefix("https://tally.example")).status_code == 200
    newest = audit.page(SYSTEM, ALL, 1).entries[0]
    assert (newest.who, newest.action, newest.address) == ("admin", "report downloaded", "127.0.0.1")


def test_whom_a_link_was_given_and_who_fetched_the_file_is_noted(admin, nobody):
    admin.send(event())
    job, _ = admin.run_report()  # which fetches the file as well
    link = admin.get(f"/reports/{job['source']}", headers={"Accept": "text/csv"}).headers["Location"]
    path = link.removeprefix("https://tally.example")
    asked = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}}
    assert nobody.get(path, headers={"Range": "bytes=1-"}, **asked).status_code == 206
    assert nobody.request("HEAD", path, **asked).status_code == 200
    assert nobody.get(f"{path}x", **asked).status_code == 403
    report = f"report {job['source']}"
    assert [
        (one.who, one.action, one.address) for one in audit.page(SYSTEM, ALL, 10).entries if one.object == report
    ] == [
        ("", "report downloaded", "203.0.113.9"),
        ("admin", "report link given", "127.0.0.1"),
        ("", "report downloaded", "127.0.0.1"),
        ("admin", "report link given", "127.0.0.1"),
        ("admin", "report started", "127.0.0.1"),
    ]
    assert {one.customer for one in audit.page(SYSTEM, ALL, 5).entries} == {"BARCHART"}
