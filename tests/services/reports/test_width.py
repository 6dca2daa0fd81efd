"""The width of a report follows from its observed codes; only if these do not suffice, every row is inspected."""

from __future__ import annotations

import pytest

from app.exports.layout import Layout
from app.services.reports import runner
from app.services.reports.part_writer import PartWriter
from app.store.catalog import catalog
from app.store.events import select
from app.store.models import ObservedCode
from app.store.reports import reports as store
from tests.support.client import event

COLUMNS = Layout("columns", ("a", "b"), {"T": ("a", "b"), "U": ("a",)})
WITH_EXTRA = Layout("columns", ("a", "b", "*"), COLUMNS.contexts)
POSITIONAL = Layout("positional")
LOST_CODES = {
    "the widest": ObservedCode.update(width=2).where(ObservedCode.type == "U"),
    "every width": ObservedCode.update(width=1),
    "one type": ObservedCode.delete().where(ObservedCode.type == "U"),
    "every type": ObservedCode.delete(),
}  # from few losses to many
OUTPUTS = [{}, {"delimiter": ","}, {"delimiter": "§"}, {"spreadsheetSafe": True}, {"compression": "gzip"}]


@pytest.fixture
def measured(monkeypatch) -> list[select.Selection]:
    """Record the selections whose rows were all inspected."""
    selections = []
    measure = select.measure
    monkeypatch.setattr(select, "measure", lambda rows, layout: selections.append(rows) or measure(rows, layout))
    return selections


def selection(**more: object) -> select.Selection:
    return select.Selection("BARCHART", "PORTFOLIO", **more)


def send(admin, *contexts: tuple[str, list, int]) -> None:
    admin.send(*[event(type=kind, context=items, timestamp=at) for kind, items, at in contexts])


def test_the_widest_context_of_each_type_is_recorded(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("U", [], 1))
    send(admin, ("T", ["1"], 2), ("U", ["1", "2", "3"], 2))
    assert catalog.widths("BARCHART", "PORTFOLIO") == {"T": 2, "U": 3}
    assert catalog.widths("BARCHART", "PORTFOLIO", ["U", "NEVER"]) == {"U": 3}


def test_the_observed_width_is_used_if_a_row_of_the_report_has_it(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("T", ["1", "2", "3"], 5))
    assert select.shape(selection(), POSITIONAL, 2) == select.Measure(2, 3, None)
    assert select.shape(selection(end=4), POSITIONAL, 1) is None
    assert select.shape(selection(types=["NEVER"]), POSITIONAL, 0) is None


def test_rows_that_lose_items_are_counted_and_never_derived_from_observed_codes(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("U", ["1"], 5))
    assert select.shape(selection(), COLUMNS, 2) is None
    assert select.shape(selection(), WITH_EXTRA, 2) == select.Measure(2, 0, None)


def test_a_report_inspects_its_rows_only_if_necessary(admin, measured):
    send(admin, ("T", ["1", "2"], 1), ("T", ["1", "2", "3"], 5))
    assert admin.run_report({"layout": "positional"})[1] == b"1|T|1|2|\n5|T|1|2|3\n"
    assert measured == []
    assert admin.run_report({"layout": "positional"}, end=4)[1] == b"1|T|1|2\n"
    assert len(measured) == 1


def test_progress_shows_the_written_rows_after_an_estimated_total(admin, services):
    send(admin, *[("T", ["1"], at) for at in range(5)])
    job, _ = admin.run_report({"layout": "positional"}, start=1, end=2)
    progress = admin.get(f"/reports/{job['source']}/progress").get_json()
    assert (progress["rows"], progress["total"], progress["percent"]) == (2, 2, 100)


@pytest.mark.parametrize("cut", ["whole", "in parts"])
def test_a_report_is_complete_with_any_observed_codes(admin, services, monkeypatch, cut):
    """Observed codes can be lost in a failover or a race. The file must not depend on them."""
    send(admin, *[("T", [str(at)], at) for at in range(4)], ("U", ["x", "y", "z"], 4), ("T", ["a", "b"], 5))
    if cut == "in parts":
        monkeypatch.setattr("app.services.reports.part_writer.WHOLE_ROWS", 1)
        monkeypatch.setattr("app.services.reports.part_writer.PART_ROWS", 2)
    outputs = [{"layout": "positional", "header": True} | output for output in OUTPUTS]
    expected = [admin.run_report(output)[1] for output in outputs]
    assert expected[0].splitlines()[-2:] == [b"4|U|x|y|z", b"5|T|a|b|"]
    for loss, query in LOST_CODES.items():
        query.execute()
        for output, file in zip(outputs, expected, strict=True):
            job, repeated = admin.run_report(output, types=["T", "U"])
            assert (repeated, job["status"]) == (file, "COMPLETE"), (loss, output)
            assert admin.get(f"/reports/{job['source']}/progress").get_json()["attempt"] == 1


def test_a_helper_writes_its_part_with_the_width_of_the_current_plan(admin, services, monkeypatch):
    """A helper reads the report when it starts, and the width may have changed since."""
    send(admin, *[("T", ["1"], at) for at in range(4)], ("U", ["x", "y", "z"], 4))
    monkeypatch.setattr("app.services.reports.part_writer.WHOLE_ROWS", 1)
    monkeypatch.setattr("app.services.reports.part_writer.PART_ROWS", 2)
    job = admin.start_report({"layout": "positional"})
    report = store.claim(job["job"], "token", 0, "holder")
    runner.Attempt(report, "holder", services.runner.context).plan()
    storage = services.runner.context.destinations.own
    outdated = store.by_job(job["job"])
    outdated.width = 1
    helper = PartWriter(outdated, "helper", storage)
    while helper.write_next(lambda: None):
        pass
    written = b"".join(storage.open(part.file).read() for part in store.parts(job["job"]))
    assert written == b"0|T|1||\n1|T|1||\n2|T|1||\n3|T|1||\n4|U|x|y|z\n"
