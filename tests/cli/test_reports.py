"""`flask reports`: start, wait, list and download."""

from __future__ import annotations

import pytest

from app.cli import wait_for
from app.exceptions import StoreUnavailable
from app.services.people.accounts import SYSTEM
from app.store.models import Report
from tests.support.client import FIRST, event
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads

SELECTION = ("--customer", "BARCHART", "--product", "PORTFOLIO")


@pytest.fixture
def source(succeeds, nobody) -> str:
    """Start a report, which waits for a worker, and return its source."""
    nobody.send(event(), event(context=["a;b", None, ""]))
    return succeeds("reports", "start", *SELECTION, "--delimiter", ";").strip()


def run(services, source: str) -> None:
    """Run a report as a worker does."""
    services.runner.run(source.removeprefix("JOB-"))


def test_a_report_is_started_waited_for_listed_and_downloaded(succeeds, prints, services, source, tmp_path):
    with BackgroundThreads() as threads:
        threads.start(run, services, source)
        waited = succeeds("reports", "wait", source)
    assert waited == f"{source} COMPLETE, 2 rows, BARCHART PORTFOLIO\n"
    assert succeeds("reports", "list") == waited.replace("\n", ", all types, from any time to any time\n")
    target = tmp_path / "report.csv"
    output = succeeds("reports", "download", source, "--output", target)
    assert output == f"Wrote {target.stat().st_size} bytes to {target}.\n"
    assert (
        target.read_bytes()
        == (
            f'{FIRST};PORTFOLIO-APPLICATION-LOADED;user-1;Overview;\n{FIRST};PORTFOLIO-APPLICATION-LOADED;"a;b";;""\n'
        ).encode()
    )
    assert prints("reports", "download", source, "--output", target) == {
        "file": str(target),
        "bytes": target.stat().st_size,
    }


def test_the_list_tells_reports_apart_by_name_types_and_period(succeeds, prints, nobody):
    nobody.send(event(type="A"))
    options = ("--type", "A", "--start", "2026-11-01", "--end", "2026-11-30", "--name", "Monthly")
    source = succeeds("reports", "start", *SELECTION, *options).strip()
    period = "from 2026-11-01 00:00 UTC to 2026-11-30 23:59 UTC"
    assert succeeds("reports", "list") == f'{source} RUNNING, BARCHART PORTFOLIO, "Monthly", types A, {period}\n'
    assert prints("reports", "show", source)["name"] == "Monthly"


def test_repeated_options_make_a_report_of_several(succeeds, prints, nobody):
    nobody.send(event(), event(customer="OTHER", product="TRADER"))
    job = prints("reports", "start", *SELECTION, "--customer", "OTHER", "--product", "TRADER")
    assert job["filter"] == {
        "customer": "BARCHART, OTHER",
        "product": "PORTFOLIO, TRADER",
        "customers": ["BARCHART", "OTHER"],
        "products": ["PORTFOLIO", "TRADER"],
    }
    assert f"{job['source']} RUNNING, BARCHART, OTHER PORTFOLIO, TRADER" in succeeds("reports", "list")


def test_a_file_is_downloaded_into_a_folder_under_a_name_with_product_and_period(
    succeeds, services, source, tmp_path, monkeypatch
):
    run(services, source)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for place in ((), ("--output", "other")):
        succeeds("reports", "download", source, *place)
    names = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("PORTFOLIO*.csv"))]
    day = succeeds("reports", "show", source).partition("started ")[2][:10]
    assert names == [f"PORTFOLIO_until_{day}.csv", f"other/PORTFOLIO_until_{day}.csv"]


def test_with_json_a_report_is_printed_as_in_the_api(admin, prints, nobody):
    nobody.send(event(type="A"), event(type="B"))
    options = ("--type", "A", "--type", "B", "--start", FIRST, "--end", FIRST + 1, "--header", "--layout", "positional")
    job = prints("reports", "start", *SELECTION, *options)
    assert job == admin.availability(job["source"])
    assert list(job) == ["job", "source", "status", "filter", "timing", "output"]
    assert job["filter"] == {
        "customer": "BARCHART", "product": "PORTFOLIO", "types": ["A", "B"], "start": FIRST, "end": FIRST + 1,
    }  # fmt: skip
    assert job["output"] == {"layout": "positional", "header": True}
    assert prints("reports", "list") == [job]


def test_omitted_options_are_not_in_the_report(prints, nobody):
    nobody.send(event())
    job = prints("reports", "start", *SELECTION)
    assert job["filter"] == {"customer": "BARCHART", "product": "PORTFOLIO"}
    assert "output" not in job


def test_the_newest_reports_are_listed_first_up_to_the_limit(succeeds, prints, nobody, admin):
    nobody.send(event())
    by_a_user = admin.start_report()["source"]
    newest = prints("reports", "start", *SELECTION)["source"]
    assert [job["source"] for job in prints("reports", "list")] == [newest, by_a_user]
    assert [job["source"] for job in prints("reports", "list", "--limit", 1)] == [newest]


@pytest.mark.settings(report_attempts=1)
def test_waiting_for_a_failed_report_exits_with_one_and_prints_the_reason(flask, services, source, monkeypatch):
    monkeypatch.setattr("app.services.reports.part_writer.blocks", lambda *args: 1 / 0)
    run(services, source)
    result = flask("reports", "wait", source)
    assert result.exit_code == 1
    reason = "1 attempt got no further. The last one: ZeroDivisionError: division by zero"
    assert result.stdout == f"{source} FAILED, 0 rows, BARCHART PORTFOLIO: {reason}\n"


def test_waiting_ends_at_the_timeout(flask, source):
    result = flask("reports", "wait", source, "--timeout", 0)
    assert (result.exit_code, result.stdout) == (1, f"{source} RUNNING, BARCHART PORTFOLIO\n")


def test_an_unknown_report_is_an_error(fails, tmp_path):
    for name in ("JOB-0d3f5a52-7f6c-4d0a-9d5b-0c7f3b0a1e11", "nonsense"):
        assert fails("reports", "wait", name) == f"Error: There is no report {name}, or it is not yours.\n"
        assert "There is no report" in fails("reports", "download", name, "--output", tmp_path / "x")


def test_downloading_a_report_without_a_file_is_an_error(fails, source, tmp_path):
    assert "still runs" in fails("reports", "download", source, "--output", tmp_path / "report.csv")
    assert not (tmp_path / "report.csv").exists()


def test_an_unwritable_target_is_an_error(fails, services, source, tmp_path):
    run(services, source)
    target = tmp_path / "no" / "folder" / "report.csv"
    error = fails("reports", "download", source, "--output", target)
    assert error == f"Error: Cannot write {target}: No such file or directory.\n"


def test_no_report_is_started_if_the_target_is_unwritable(fails, prints, nobody, tmp_path):
    nobody.send(event())
    target = tmp_path / "no" / "report.csv"
    error = fails("reports", "start", *SELECTION, "--wait", "--output", target)
    assert error == f"Error: Cannot write {target}: No such file or directory.\n"
    assert prints("reports", "list") == []


def test_the_file_replaces_an_older_one_and_leaves_no_temporary_file(succeeds, services, nobody, tmp_path):
    nobody.send(event())
    target = tmp_path / "report.csv"
    target.write_text("an older one, and longer than this")
    with BackgroundThreads() as threads:
        threads.start(work_on_the_first_report, services)
        succeeds("reports", "start", *SELECTION, "--delimiter", ";", "--output", target)
    assert target.read_bytes() == f"{FIRST};PORTFOLIO-APPLICATION-LOADED;user-1;Overview\n".encode()
    assert list(tmp_path.glob(".*")) == []


def work_on_the_first_report(services) -> None:
    wait_until(lambda: services.reports.visible(SYSTEM, 1), 10)
    services.runner.work("here")


def test_interrupting_the_wait_prints_that_the_report_continues(flask, source, monkeypatch):
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wait_for.time, "sleep", interrupt)
    result = flask("reports", "wait", source)
    assert result.exit_code == 1
    assert f"{source} continues. Wait for it: tally reports wait {source}. Cancel it: " in result.stderr


def test_waiting_without_a_worker_warns_once(flask, source, monkeypatch):
    monkeypatch.setattr(wait_for, "PATIENCE_SECONDS", 0)
    result = flask("reports", "wait", source, "--timeout", 1)
    assert result.stderr.count("No worker has been heard from lately. Reports wait. Start one: tally worker.") == 1


def test_waiting_continues_when_the_database_is_available_again(flask, services, source, monkeypatch):
    run(services, source)
    Report.update(status="RUNNING").execute()
    get, calls = services.reports.get, []

    def fail_twice(*args: object) -> Report:
        calls.append(args)
        if 1 < len(calls) < 4:
            raise StoreUnavailable("The database cannot be reached.")
        if len(calls) == 5:
            Report.update(status="COMPLETE").execute()
        return get(*args)

    monkeypatch.setattr(services.reports, "get", fail_twice)
    result = flask("reports", "wait", source)
    assert (result.exit_code, result.stdout) == (0, f"{source} COMPLETE, 2 rows, BARCHART PORTFOLIO\n")
    assert result.stderr.count("The database cannot be reached.") == 1


def test_an_invalid_report_is_rejected_with_every_error(fails, nobody):
    nobody.send(event())
    wrong = fails("reports", "start", *SELECTION, "--delimiter", "||", "--layout", "wide")
    assert wrong.startswith("Error: The report's request has 2 faults")
    assert 'output.delimiter is "||"' in wrong
    unknown = fails("reports", "start", "--customer", "BARCHARD", "--product", "PORTFOLIO")
    assert 'filter.customer is "BARCHARD", which is not known; the nearest known: BARCHART.' in unknown
