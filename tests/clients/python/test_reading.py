"""`events`, `changes` and `report`, against the service itself."""

from __future__ import annotations

import sys
import urllib.request
from datetime import UTC, date, datetime

import pyarrow
import pytest
import tally_client.reading
from tally_client import DownloadFailed, InvalidSetting, LibraryMissing, ReportFailed, RequestFailed, Tally

from app.services.people import tokens
from tests.conftest import PASSWORD
from tests.support.client import FIRST, event
from tests.support.threads import BackgroundThreads
from tests.support.wire import Wire

DATABASE = "sqlite"  # a client does not notice which database there is
CODES = ("BARCHART", "PORTFOLIO")


@pytest.fixture
def tally(url, analyst) -> Tally:
    return Tally(url, user="anna", password=PASSWORD)


@pytest.fixture
def run(app):
    """A function that lets a worker write a report."""

    def run(report):
        app.extensions["services"].runner.run(report.source.removeprefix("JOB-"))
        return report

    return run


def test_events_are_read_back_over_several_pages_newest_first(tally, nobody, monkeypatch):
    monkeypatch.setattr(tally_client.reading, "PAGE_EVENTS", 2)
    nobody.send(*[event(timestamp=FIRST + number, context=[str(number), None]) for number in range(5)])
    found = list(tally.events(*CODES))
    assert [one.context for one in found] == [[str(number), None] for number in (4, 3, 2, 1, 0)]
    assert (found[0].customer, found[0].type, found[0].version) == ("BARCHART", "PORTFOLIO-APPLICATION-LOADED", None)
    assert found[0].time == datetime.fromtimestamp((FIRST + 4) / 1000, UTC)
    assert [one.context[0] for one in tally.events(limit=3)] == ["4", "3", "2"]


def test_events_are_found_by_a_context_value(tally, nobody, sample_catalog):
    nobody.send(event(type="PORTFOLIO-VIEW-CHANGED", context=["u-1", "Overview"]), event(context=["u-2"]))
    assert [one.context for one in tally.events(value="u-2")] == [["u-2"]]
    assert [one.context for one in tally.events(context="userId", value="u-1")] == [["u-1", "Overview"]]


def test_the_events_of_a_batch_are_read_back(tally, nobody):
    stored = nobody.send(event(context=["u-1"]), event(context=["u-2"]))
    nobody.send(event(context=["u-3"]))
    assert {one.context[0] for one in tally.events(batch=stored[0]["batch"])} == {"u-1", "u-2"}


def test_events_are_filtered_by_type_and_by_days_in_utc(tally, nobody):
    midnight = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp() * 1000)
    times = {"before": midnight - 1, "first": midnight, "last": midnight + 86_399_999, "after": midnight + 86_400_000}
    nobody.send(*[event(timestamp=moment, type=name, context=[]) for name, moment in times.items()])
    day = date(2026, 11, 29)
    assert {one.type for one in tally.events(start=day, end=day)} == {"first", "last"}
    assert {one.type for one in tally.events(types=["after", "last"])} == {"after", "last"}
    assert {one.type for one in tally.events(types="after")} == {"after"}


def test_changes_yield_each_event_once_and_continue_from_a_cursor(tally, nobody, monkeypatch):
    monkeypatch.setattr(tally_client.reading, "PAGE_EVENTS", 2)
    nobody.send(*[event(context=[str(number)]) for number in range(5)])
    pages = list(tally.changes(*CODES, wait=0))
    assert [[one.context for one in page.events] for page in pages] == [[["0"], ["1"]], [["2"], ["3"]], [["4"]]]
    nobody.send(event(context=["5"]), event(type="OTHER"))
    followed = tally.changes(types="PORTFOLIO-APPLICATION-LOADED", after=pages[1].cursor)
    assert [next(followed).events[0].context for _ in range(2)] == [["4"], ["5"]]
    with pytest.raises(RequestFailed) as raised:
        next(tally.changes(after="1-0-00000000"))
    assert raised.value.status == 410


def test_changes_wait_for_new_events(tally, nobody):
    end = next(iter(tally.changes(after="now", wait=0))).cursor
    with BackgroundThreads() as threads:
        first = threads.start(next, tally.changes(after=end))
        nobody.send(event(context=["new"]))
        assert [one.context for one in first.result(timeout=60).events] == [["new"]]


def test_a_token_reads_what_its_scopes_permit(url, analyst, services, nobody):
    nobody.send(event())
    _, text = tokens.add(services.accounts.named("anna"), "notebook", ["events:read"])
    tally = Tally(url, token=text)
    assert len(list(tally.events())) == 1
    with pytest.raises(RequestFailed, match="HTTP 403: .*reports:write"):
        tally.report(*CODES)


def test_a_rejected_question_is_explained(url, tally, nobody):
    nobody.send(event())
    with pytest.raises(RequestFailed, match="HTTP 401: the service does not accept the key or credentials") as no:
        next(Tally(url).events())
    assert no.value.status == 401
    with pytest.raises(RequestFailed, match="HTTP 400: .*PORTFOLIO"):
        next(tally.events(product="PORTFOLI"))
    with pytest.raises(InvalidSetting, match="start is .* without a time zone; .* or a date, which is the whole day"):
        tally.events(start=datetime(2026, 11, 29))
    with pytest.raises(InvalidSetting, match="format is 'xlsx'; it must be one of 'csv', 'jsonl', 'parquet'."):
        tally.report(*CODES, format="xlsx")


def test_a_report_becomes_a_file_with_its_progress(tally, nobody, run, tmp_path):
    nobody.send(event(context=["user-1", "Zürich"]))
    seen = []
    path = run(tally.report(*CODES)).to_file(tmp_path / "report.csv", progress=seen.append)
    assert path.read_text() == (
        f"timestamp,type,context1,context2\n{FIRST},PORTFOLIO-APPLICATION-LOADED,user-1,Zürich\n"
    )
    assert [(one.stage, one.percent) for one in seen] == [("writing", 100), ("downloading", 100)]
    assert list(tmp_path.glob("report*")) == [path]


ROWS = [["user-1", "Overview"], ["007", None], ["", 'a, "b"\nc']]


@pytest.mark.parametrize("output", [{}, {"compression": "gzip"}, {"delimiter": "|", "header": False}])
def test_csv_becomes_a_data_frame_and_a_table(tally, nobody, run, output):
    nobody.send(*[event(timestamp=FIRST + place, context=row) for place, row in enumerate(ROWS)])
    report = run(tally.report(*CODES, **output))
    frame = report.to_pandas()
    assert [moment.timestamp() * 1000 for moment in frame.iloc[:, 0]] == [FIRST, FIRST + 1, FIRST + 2]
    assert str(frame.iloc[0, 0].tz) == "UTC"
    users, views = list(frame.iloc[:, 2].fillna("-")), list(frame.iloc[:, 3].fillna("-"))
    assert (users, views) == (["user-1", "007", "-"], ["Overview", "-", 'a, "b"\nc'])
    table = report.to_arrow()
    assert table.column(0).type == pyarrow.timestamp("ms", "UTC")
    assert table.column(2).to_pylist() == ["user-1", "007", ""]
    assert table.column(3).to_pylist() == ["Overview", None, 'a, "b"\nc']
    if output.get("header", True):
        assert list(frame.columns) == table.column_names == ["timestamp", "type", "context1", "context2"]


def test_a_delimiter_beyond_ascii_becomes_a_data_frame_but_no_table(tally, nobody, run):
    nobody.send(event(context=["a¦b", "é"]))
    report = run(tally.report(*CODES, delimiter="¦"))
    assert list(report.to_pandas().iloc[0, 2:]) == ["a¦b", "é"]
    with pytest.raises(InvalidSetting, match="ASCII ones only"):
        report.to_arrow()


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_other_formats_keep_every_field(tally, nobody, run, format):
    nobody.send(*[event(timestamp=FIRST + place, context=row) for place, row in enumerate(ROWS)])
    report = run(tally.report(*CODES, format=format))
    frame, table = report.to_pandas(), report.to_arrow()
    assert [list(context) for context in frame["context"]] == table.column("context").to_pylist() == ROWS
    assert set(frame["customer"]) == {"BARCHART"}
    assert frame["timestamp"][1].timestamp() * 1000 == FIRST + 1
    assert table.column("timestamp").type == pyarrow.timestamp("ms", "UTC")


def test_a_report_about_several_products_tells_them_apart(tally, nobody, run):
    nobody.send(event(), event(product="TRADER"))
    frame = run(tally.report("BARCHART", ["PORTFOLIO", "TRADER"])).to_pandas()
    assert list(frame["product"]) == ["PORTFOLIO", "TRADER"]


@pytest.mark.parametrize(
    "output",
    [{}, {"header": False}, {"format": "jsonl"}, {"format": "jsonl", "compression": "gzip"}, {"format": "parquet"}],
)
def test_a_report_without_an_event_has_no_rows(tally, nobody, run, output):
    nobody.send(event())
    report = run(tally.report(*CODES, end=1, **output))
    frame = report.to_pandas()
    assert (len(frame), report.to_arrow().num_rows) == (0, 0)
    assert str(frame["timestamp" if output.get("header", True) else 0].dt.tz) == "UTC"


def test_a_download_that_breaks_is_resumed_with_another_link(tally, nobody, run, port, url, tmp_path, monkeypatch):
    nobody.send(*[event(context=[f"{number}" * 900]) for number in range(400)])
    report, wire, ranges = run(tally.report(*CODES)), Wire(url), []
    download = tally._reader.download

    def through_wire(link, offset, etag):
        ranges.append((offset, link))
        return download(link.replace(url, wire.url), offset, etag)

    monkeypatch.setattr(tally._reader, "download", through_wire)
    wire.cut_after(600_000, times=1, after_seconds=1)
    path = report.to_file(tmp_path / "report.csv")
    wire.close()
    (first, one), (second, other) = ranges
    assert first == 0 < second < path.stat().st_size
    assert one != other
    assert path.read_text().count("\n") == 401


def test_a_file_with_another_content_is_refused(tally, nobody, run, tmp_path, settings):
    nobody.send(event())
    report = run(tally.report(*CODES))
    [stored] = [path for path in settings.data_dir.rglob("*.csv") if path.stat().st_size]
    stored.write_bytes(stored.read_bytes()[::-1])
    with pytest.raises(DownloadFailed, match="does not have the SHA-256"):
        report.to_file(tmp_path / "report.csv")
    assert not list(tmp_path.glob("report*"))


def test_a_report_that_ends_without_a_file_says_so(tally, nobody, run):
    nobody.send(event())
    report = tally.report(*CODES)
    with pytest.raises(TimeoutError, match=f"{report.source} has not ended within 0 s"):
        report.wait(timeout=0)
    report.delete()
    with pytest.raises(ReportFailed, match="ended with FAILED"):
        tally.find_report(report.source).to_pandas()


def test_a_missing_library_is_named(tally, nobody, run, monkeypatch):
    nobody.send(event())
    report = tally.report(*CODES)
    for name, read in {"pandas": report.to_pandas, "pyarrow": report.to_arrow}.items():
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(LibraryMissing, match=f"{name} is not installed. Install it with: pip install {name}"):
            read()


def test_credentials_do_not_follow_a_redirect_to_another_server(tally, monkeypatch):
    request = urllib.request.Request("http://127.0.0.1/")
    for name, value in tally._reader._headers.items():
        request.add_unredirected_header(name, value)
    moved = urllib.request.HTTPRedirectHandler().redirect_request(request, None, 302, "", {}, "http://other/")
    assert not moved.has_header("Authorization")
