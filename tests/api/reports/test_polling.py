"""Reports after their start: state, progress, the list, and who may see them."""

from __future__ import annotations

import pytest

from app.store.models import Report
from tests.conftest import PASSWORD
from tests.support.client import FIRST, Client, event, faults, root

JSON = {"Accept": "application/json"}
CALLS = ["", "/availability", "/progress"]


@pytest.fixture
def stored_event(nobody) -> None:
    nobody.send(event(), event(customer="HARBORLINE"))


@pytest.fixture
def admin(admin, stored_event):
    return admin


def end_report(source: str, status: str, reason: str) -> None:
    """End a report as a failing worker does."""
    Report.update(status=status, reason=reason, ended_at=1).where(Report.job == source[4:]).execute()


class TestState:
    def test_the_file_of_a_running_report_is_a_conflict(self, admin):
        source = admin.start_report()["source"]
        for headers in (JSON, {"Accept": "text/csv"}):
            answer = admin.get(f"/reports/{source}", headers=headers)
            assert (answer.status_code, root(answer)) == (409, "EVENT_JOB_GET_FAILED_RUNNING")
            assert answer.get_json()[0]["children"] == []

    @pytest.mark.parametrize("status", ["FAILED", "TIMEOUT"])
    def test_the_file_of_a_failed_report_is_a_conflict_with_the_reason(self, admin, status):
        source = admin.start_report()["source"]
        end_report(source, status, "The disk is full.")
        assert admin.availability(source)["status"] == status
        for headers in (JSON, {"Accept": "text/csv"}):
            answer = admin.get(f"/reports/{source}", headers=headers)
            assert (answer.status_code, root(answer)) == (409, "EVENT_JOB_GET_FAILED")
            assert "The disk is full." in answer.get_json()[0]["value"]["message"]

    @pytest.mark.settings(report_attempts=1)
    def test_a_report_whose_worker_raises_has_failed(self, admin, services, monkeypatch):
        def fail(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("app.storage.local.LocalStorage.create", fail)
        job = admin.start_report()
        services.runner.run(job["job"])
        failed = admin.availability(job["source"])
        assert failed["status"] == "FAILED"
        assert list(failed["timing"]) == ["day", "start", "end"]
        assert "No space left" in admin.get(f"/reports/{job['source']}").get_json()[0]["value"]["message"]


class TestProgress:
    def progress(self, client, source: str) -> dict:
        return client.get(f"/reports/{source}/progress").get_json()

    def test_a_waiting_report_has_only_its_position(self, admin):
        first, second = admin.start_report()["source"], admin.start_report()["source"]
        assert self.progress(admin, first) == {"queue_position": 1}
        assert self.progress(admin, second) == {"queue_position": 2}

    def test_the_next_report_moves_up_when_the_first_is_complete(self, admin, services):
        first, second = admin.start_report(), admin.start_report()
        services.runner.run(first["job"])
        assert self.progress(admin, second["source"]) == {"queue_position": 1}

    def test_a_running_report_has_its_progress(self, admin):
        source = admin.start_report()["source"]
        pace = {"resumed_rows": 20, "writing_began_at": 10_000, "heartbeat_at": 13_000}  # ten rows a second
        running = {"token": "t", "attempt": 2, "rows": 50, "total": 200}
        Report.update(running | pace).where(Report.job == source[4:]).execute()
        progress = self.progress(admin, source)
        assert list(progress) == ["rows", "total", "percent", "eta_ms", "attempt"]
        assert progress == {"rows": 50, "total": 200, "percent": 25, "eta_ms": 15_000, "attempt": 2}

    def test_a_complete_report_describes_its_file(self, admin):
        admin.send(event(), event())
        job, file = admin.run_report()
        progress = self.progress(admin, job["source"])
        assert list(progress) == ["rows", "total", "percent", "attempt", "file"]
        assert list(progress["file"]) == ["rows", "bytes", "sha256", "expires"]
        assert (progress["rows"], progress["total"], progress["percent"]) == (3, 3, 100)
        assert (progress["file"]["rows"], progress["file"]["bytes"]) == (3, len(file))
        assert progress["file"]["expires"] == job["timing"]["end"] + 7 * 86_400_000

    def test_a_report_without_rows_completes(self, admin):
        job, file = admin.run_report(start=FIRST + 86_400_000)
        assert file == b""
        assert self.progress(admin, job["source"])["percent"] == 100


class TestOthers:
    """A report of another user and a missing report get the same response."""

    @pytest.mark.parametrize("call", CALLS)
    def test_an_invalid_source_is_not_found(self, admin, call):
        for source in ("x", "JOB-", "JOB-1", f"JOB-{'0' * 36}", "JOB-00000000-0000-0000-0000-000000000000", "%00", "ü"):
            answer = admin.get(f"/reports/{source}{call}")
            assert (answer.status_code, root(answer)) == (404, "EVENT_JOB_GET_FAILED_NO_JOB"), source

    def test_a_source_has_one_spelling(self, admin):
        job = admin.start_report()
        for source in (
            job["job"],
            job["source"].upper(),
            job["source"].lower(),
            f"{job['source']}%0A",
            f" {job['source']}",
        ):
            assert admin.get(f"/reports/{source}/availability").status_code == 404

    @pytest.mark.parametrize("call", CALLS)
    def test_another_analyst_s_report_gets_the_response_of_a_missing_one(self, app, admin, analyst, services, call):
        services.accounts.add("anton", "analyst", ["BARCHART"], PASSWORD)
        taken = Client(app, ("anton", PASSWORD)).start_report()["source"]
        free = "JOB-00000000-0000-0000-0000-000000000000"
        answers = [analyst.get(f"/reports/{source}{call}") for source in (taken, free)]
        assert [answer.status_code for answer in answers] == [404, 404]
        bodies = [
            answer.get_data(as_text=True).replace(source, "?")
            for answer, source in zip(answers, (taken, free), strict=True)
        ]
        assert bodies[0] == bodies[1]
        headers = [{name: value for name, value in answer.headers if name not in PRIVATE} for answer in answers]
        assert headers[0] == headers[1]

    @pytest.mark.parametrize("call", CALLS)
    def test_a_report_is_not_found_once_its_owner_loses_access_to_the_customer(self, admin, app, services, call):
        services.accounts.add("otto", "operator", ["HARBORLINE"], PASSWORD)
        source = admin.start_report()["source"]
        assert Client(app, ("otto", PASSWORD)).get(f"/reports/{source}{call}").status_code == 404

    def test_operators_see_the_reports_of_others_within_their_customers(self, admin, operator):
        source = admin.start_report()["source"]
        assert operator.availability(source)["source"] == source


PRIVATE = ("X-Request-ID",)


class TestList:
    def test_it_is_empty_at_first(self, admin):
        assert admin.get("/reports").get_data() == b'{"reports":[]}'

    def test_the_newest_comes_first_and_each_entry_is_its_job(self, admin):
        jobs = [admin.start_report(), admin.start_report({"header": True}), admin.start_report(types=[], start=5)]
        answer = admin.get("/reports")
        assert answer.get_json() == {"reports": jobs[::-1]}
        each = [admin.get(f"/reports/{job['source']}/availability").get_data() for job in jobs[::-1]]
        assert answer.get_data() == b'{"reports":[' + b",".join(each) + b"]}"

    def test_next_leads_through_all_pages(self, admin):
        jobs = [admin.start_report()["job"] for _ in range(5)][::-1]
        listed, query = [], "?limit=2"
        for size in (2, 2, 1):
            page = admin.get(f"/reports{query}").get_json()
            assert len(page["reports"]) == size
            listed += [job["job"] for job in page["reports"]]
            query = f"?limit=2&after={page.get('next')}"
        assert "next" not in page
        assert listed == jobs

    def test_a_full_last_page_has_no_next(self, admin):
        for _ in range(2):
            admin.start_report()
        page = admin.get("/reports?limit=2").get_json()
        assert list(page) == ["reports"]

    def test_it_can_be_filtered_by_status(self, admin):
        done, _ = admin.run_report()
        running = admin.start_report()
        assert admin.get("/reports?status=COMPLETE").get_json()["reports"] == [done]
        assert admin.get("/reports?status=RUNNING").get_json()["reports"] == [running]
        assert admin.get("/reports?status=FAILED").get_json()["reports"] == []

    def test_it_has_only_the_caller_s_reports(self, admin, operator, analyst):
        mine = {client: client.start_report() for client in (admin, operator, analyst)}
        for client, job in mine.items():
            assert client.get("/reports").get_json()["reports"] == [job]

    @pytest.mark.parametrize(
        ("query", "allowed"),
        [
            ("status=DONE", 'status is "DONE"; it must be RUNNING or COMPLETE or TIMEOUT or FAILED.'),
            ("status=", 'status is ""; it must be RUNNING or COMPLETE or TIMEOUT or FAILED.'),
            ("limit=0", 'limit is "0"; it must be a whole number from 1 to 1000.'),
            ("limit=1001", 'limit is "1001"; it must be a whole number from 1 to 1000.'),
            ("limit=00000010000", 'limit is "00000010000"; it must be a whole number from 1 to 1000.'),
            ("limit=-1", 'limit is "-1"; it must be a whole number from 1 to 1000.'),
            ("limit=x", 'limit is "x"; it must be a whole number from 1 to 1000.'),
            ("limit=%D9%A3", 'limit is "٣"; it must be a whole number from 1 to 1000.'),
            ("after=x", 'after is "x"; it must be the value of next in an earlier answer.'),
            ("after=", 'after is ""; it must be the value of next in an earlier answer.'),
            ("after=" + "9" * 5000, 'after is "' + "9" * 60 + '"; it must be the value of next in an earlier answer.'),
        ],
        ids=range(11),
    )
    def test_an_invalid_parameter_is_named(self, admin, query, allowed):
        answer = admin.get(f"/reports?{query}")
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert faults(answer) == [("REQUEST_PARAMETER_MALFORMED", allowed)]


class TestSnapshot:
    def test_events_accepted_after_the_start_are_only_in_a_later_report(self, admin, services):
        admin.send(event(context=["before"]))
        job = admin.start_report(types=["PORTFOLIO-APPLICATION-LOADED"])
        admin.send(event(context=["after"]), event(context=["after"], timestamp=0))
        services.runner.run(job["job"])
        file = admin.download(job["source"]).decode()
        assert "before" in file
        assert "after" not in file
        assert b"after" in admin.run_report()[1]

    def test_later_changes_of_the_catalog_do_not_change_a_report(self, admin, services, sample_catalog):
        job = admin.start_report()
        services.catalog.put(b'{"products":[{"code":"PORTFOLIO","columns":["viewName"]}]}')
        services.runner.run(job["job"])
        assert admin.download(job["source"]) == b"1793000000000|PORTFOLIO-APPLICATION-LOADED|user-1||Overview|||||\n"

    def test_running_a_report_again_changes_nothing(self, admin, services):
        job, file = admin.run_report()
        services.runner.run(job["job"])
        assert admin.availability(job["source"]) == job
        assert admin.download(job["source"]) == file


class TestMethods:
    """Only the implemented methods of a report are allowed."""

    def test_deleting_a_running_report_cancels_it(self, admin, services):
        job = admin.start_report()
        answer = admin.request("DELETE", f"/reports/{job['source']}")
        assert (answer.status_code, answer.get_data()) == (204, b"")
        assert admin.availability(job["source"])["status"] == "FAILED"
        answer = admin.get(f"/reports/{job['source']}")
        assert (answer.status_code, root(answer)) == (409, "EVENT_JOB_GET_FAILED")
        assert "Cancelled by" in answer.get_json()[0]["value"]["message"]
        assert not services.runner.run(job["job"])

    def test_deleting_a_complete_report_removes_its_file(self, admin):
        job, _ = admin.run_report()
        for _ in range(2):
            assert admin.request("DELETE", f"/reports/{job['source']}").status_code == 204
        assert admin.get(f"/reports/{job['source']}").status_code == 410
        assert admin.availability(job["source"])["status"] == "COMPLETE"

    def test_a_cancelled_report_can_be_run_again(self, admin, services):
        job = admin.start_report()
        running = admin.post(f"/reports/{job['source']}/retry", b"")
        assert (running.status_code, root(running)) == (409, "EVENT_JOB_GET_FAILED_RUNNING")
        admin.request("DELETE", f"/reports/{job['source']}")
        again = admin.post(f"/reports/{job['source']}/retry", b"")
        assert (again.status_code, again.get_json()) == (200, job)
        services.runner.run(job["job"])
        assert admin.availability(job["source"])["status"] == "COMPLETE"

    def test_another_user_s_report_can_be_neither_deleted_nor_run_again(self, admin, analyst):
        source = admin.start_report()["source"]
        for answer in (analyst.request("DELETE", f"/reports/{source}"), analyst.post(f"/reports/{source}/retry", b"")):
            assert (answer.status_code, root(answer)) == (404, "EVENT_JOB_GET_FAILED_NO_JOB")
        assert admin.availability(source)["status"] == "RUNNING"
