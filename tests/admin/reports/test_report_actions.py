"""Actions on a report: confirmation, result, and entry in the audit log."""

from __future__ import annotations

import pytest

from app.services.people.principal import SYSTEM
from app.store.models import AuditEntry, Report
from app.store.reports import reports as store
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import event, root
from tests.support.page import read


@pytest.fixture
def waiting(admin) -> dict:
    """Start a report that waits for a worker."""
    admin.send(event())
    return admin.start_report()


@pytest.fixture
def complete(admin) -> dict:
    """Run a report, so that it has a file."""
    admin.send(event())
    return admin.run_report()[0]


def state(visitor: Visitor, path: str) -> str:
    return visitor.read(path).first(class_="state-badge").text


def audited_objects(action: str) -> list[str]:
    return [entry.object for entry in AuditEntry.select().where(AuditEntry.action == action)]


def test_a_running_report_is_cancelled_after_a_confirmation(boss, admin, waiting):
    at = f"/admin/reports/{waiting['source']}"
    assert f"{at}/cancel" in boss.read(at).links
    assert "Cancel this report?" in boss.read(f"{at}/cancel")
    assert admin.availability(waiting["source"])["status"] == "RUNNING"
    assert boss.send(f"{at}/cancel", {}).status_code == 302
    assert state(boss, at) == "Cancelled"
    assert "Cancelled by admin." in boss.read(at)
    assert admin.availability(waiting["source"])["status"] == "FAILED"
    assert audited_objects("report cancelled") == [f"report {waiting['source']}"]


def test_a_cancelled_report_can_be_retried(boss, admin, services, waiting):
    at = f"/admin/reports/{waiting['source']}"
    boss.send(f"{at}/cancel", {})
    assert "Try this report again?" in boss.read(f"{at}/retry")
    boss.send(f"{at}/retry", {})
    assert state(boss, at) == "Queued"
    services.runner.run(waiting["job"])
    assert state(boss, at) == "Complete"
    assert audited_objects("report retried") == [f"report {waiting['source']}"]


def test_a_file_is_deleted_and_the_report_remains(boss, admin, complete):
    at = f"/admin/reports/{complete['source']}"
    assert "1 rows" in boss.read(f"{at}/delete")
    boss.send(f"{at}/delete", {})
    assert state(boss, at) == "Deleted"
    assert "The file was deleted." in boss.read(at)
    assert boss.get(f"{at}/download").status_code == 410
    assert audited_objects("report deleted") == [f"report {complete['source']}"]


def test_impossible_actions_are_not_offered(boss, waiting, complete):
    for source, acts in ((waiting["source"], ("retry", "delete")), (complete["source"], ("cancel", "retry"))):
        links = boss.read(f"/admin/reports/{source}").links
        for act in acts:
            assert f"/admin/reports/{source}/{act}" not in links
            assert boss.get(f"/admin/reports/{source}/{act}").status_code == 404


def test_the_tabs_filter_reports_by_state(boss, admin, waiting, complete):
    assert boss.send(f"/admin/reports/{complete['source']}/delete", {}).status_code == 302
    both = [waiting["source"], complete["source"]]
    by_tab = {
        tab: [source for source in both if source in boss.read(f"/admin/reports{tab}").row_keys()]
        for tab in ("", "?state=running", "?state=complete", "?state=failed", "?state=cancelled", "?state=expired")
    }
    assert list(by_tab.values()) == [both, [waiting["source"]], [], [], [], [complete["source"]]]
    assert boss.get("/admin/reports?state=nonsense").status_code == 404


def test_the_timeline_has_each_attempt_and_its_reason(boss, admin, waiting):
    store.begin_attempt(waiting["job"], 1, "a", "worker-1", 1)
    store.end_attempt(waiting["job"], "a", store.Outcome.FAILED, 2001, reason="The disk <is> full.", rows=5)
    store.begin_attempt(waiting["job"], 2, "b", "worker-2", 3000)
    page = boss.read(f"/admin/reports/{waiting['source']}")
    assert "Failed after 2 s. The disk <is> full." in page
    assert "Running" in page


def test_a_preempted_report_is_shown_as_paused(boss, waiting):
    Report.update(paused=True).where(Report.job == waiting["job"]).execute()
    assert state(boss, f"/admin/reports/{waiting['source']}") == "Paused"


@pytest.mark.settings(reports_waiting_max=2)
def test_the_number_of_waiting_reports_of_a_user_is_limited(boss, admin, services, waiting):
    body = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}
    services.reports.cancel(SYSTEM, Report.get(Report.job == waiting["job"]))
    for _ in range(2):
        admin.start_report()
    answer = admin.post("/reports", body)
    assert (answer.status_code, root(answer), answer.headers["Retry-After"]) == (429, "REQUEST_RATE_LIMITED", "60")
    answer = boss.send("/admin/reports/new", body["filter"])
    assert answer.status_code == 429
    assert "2 of the user's reports wait or run" in read(answer)
    at = f"/admin/reports/{waiting['source']}"
    boss.send(f"{at}/retry", {})
    assert "2 of the user's reports wait or run" in boss.read(at)
    assert services.reports.start(SYSTEM, body["filter"], None)  # as a command on the server does
    assert services.reports.start(services.accounts.verify("admin", PASSWORD), body["filter"], None, origin=1)
    assert Report.select().where(Report.status == "RUNNING").count() == 4
