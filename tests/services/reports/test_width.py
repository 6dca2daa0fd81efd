"""A short report's columns follow from what was seen of its types; where that does not tell, each row is looked at."""

from __future__ import annotations

import pytest

from app.exports.layout import Layout
from app.services.reports import attempt
from app.services.reports.part_writer import PartWriter
from app.store.catalog import catalog
from app.store.events import select
from app.store.models import ObservedCode
from app.store.reports import parts
from app.store.reports import reports as store
from tests.support.client import event

COLUMNS = Layout("columns", ("a", "b"), {"T": ("a", "b"), "U": ("a",)})
KEEPS = Layout("columns", ("a", "b", "*"), COLUMNS.contexts)
POSITIONAL = Layout("positional")
LOST_SIGHTINGS = {
    "the widest": ObservedCode.update(width=2).where(ObservedCode.type == "U"),
    "every width": ObservedCode.update(width=1),
    "one type": ObservedCode.delete().where(ObservedCode.type == "U"),
    "every type": ObservedCode.delete(),
}  # from little to all
OUTPUTS = [{}, {"delimiter": ","}, {"delimiter": "§"}, {"spreadsheetSafe": True}, {"compression": "gzip"}]


@pytest.fixture
def looked(monkeypatch) -> list[select.Selection]:
    """The selections of which each row was looked at."""
    found = []
    measure = select.measure
    monkeypatch.setattr(select, "measure", lambda rows, layout: found.append(rows) or measure(rows, layout))
    return found


def selection(**more: object) -> select.Selection:
    return select.Selection("BARCHART", "PORTFOLIO", **more)


def send(admin, *contexts: tuple[str, list, int]) -> None:
    admin.send(*[event(type=kind, context=items, timestamp=at) for kind, items, at in contexts])


def test_the_widest_context_that_was_seen_of_each_type_is_remembered(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("U", [], 1))
    send(admin, ("T", ["1"], 2), ("U", ["1", "2", "3"], 2))
    assert catalog.widths("BARCHART", "PORTFOLIO") == {"T": 2, "U": 3}
    assert catalog.widths("BARCHART", "PORTFOLIO", ["U", "NEVER"]) == {"U": 3}


def test_what_was_seen_tells_the_width_where_a_row_has_it(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("T", ["1", "2", "3"], 5))
    assert select.shape(selection(), POSITIONAL, 2) == select.Measure(2, 3, None)
    assert select.shape(selection(end=4), POSITIONAL, 1) is None
    assert select.shape(selection(types=["NEVER"]), POSITIONAL, 0) is None


def test_how_many_rows_lose_items_is_counted_and_never_concluded_from_what_was_seen(admin, app):
    send(admin, ("T", ["1", "2"], 1), ("U", ["1"], 5))
    assert select.shape(selection(), COLUMNS, 2) is None
    assert select.shape(selection(), KEEPS, 2) == select.Measure(2, 0, None)


def test_a_report_looks_at_each_row_only_where_it_must(admin, looked):
    send(admin, ("T", ["1", "2"], 1), ("T", ["1", "2", "3"], 5))
    assert admin.run_report({"layout": "positional"})[1] == b"1|T|1|2|\n5|T|1|2|3\n"
    assert looked == []
    assert admin.run_report({"layout": "positional"}, end=4)[1] == b"1|T|1|2\n"
    assert len(looked) == 1


def test_the_rows_told_are_those_written_though_the_total_was_an_estimate(admin, services):
    send(admin, *[("T", ["1"], at) for at in range(5)])
    job, _ = admin.run_report({"layout": "positional"}, start=1, end=2)
    told = admin.get(f"/reports/{job['source']}/progress").get_json()
    assert (told["rows"], told["total"], told["percent"]) == (2, 2, 100)


@pytest.mark.parametrize("cut", ["whole", "in parts"])
def test_a_report_is_whole_whatever_was_seen_of_its_types(admin, services, monkeypatch, cut):
    """Sightings can be lost: by a failover, by a request that lost a race. The file must not know."""
    send(admin, *[("T", [str(at)], at) for at in range(4)], ("U", ["x", "y", "z"], 4), ("T", ["a", "b"], 5))
    if cut == "in parts":
        monkeypatch.setattr("app.services.reports.planning.WHOLE_ROWS", 1)
        monkeypatch.setattr("app.services.reports.planning.PART_ROWS", 2)
    outputs = [{"layout": "positional", "header": True} | output for output in OUTPUTS]
    whole = [admin.run_report(output)[1] for output in outputs]
    assert whole[0].splitlines()[-2:] == [b"4|U|x|y|z", b"5|T|a|b|"]
    for lost, query in LOST_SIGHTINGS.items():
        query.execute()
        for output, file in zip(outputs, whole, strict=True):
            job, again = admin.run_report(output, types=["T", "U"])
            assert (again, job["status"]) == (file, "COMPLETE"), (lost, output)
            assert admin.get(f"/reports/{job['source']}/progress").get_json()["attempt"] == 1


def test_a_part_that_another_plan_left_to_a_helper_is_written_as_wide_as_the_plan_says(admin, services, monkeypatch):
    """A helper has the report as it was when it began to help; the width may be another by now."""
    send(admin, *[("T", ["1"], at) for at in range(4)], ("U", ["x", "y", "z"], 4))
    monkeypatch.setattr("app.services.reports.planning.WHOLE_ROWS", 1)
    monkeypatch.setattr("app.services.reports.planning.PART_ROWS", 2)
    job = admin.start_report({"layout": "positional"})
    report = store.claim(job["job"], "token", 0, "holder")
    attempt.Attempt(report, "holder", services.runner.context)._plan()
    storage = services.runner.context.destinations.own
    helper = PartWriter(store.by_job(job["job"]), "helper", storage)
    helper._report.width = 1
    while helper.write_next(lambda: None):
        pass
    written = b"".join(storage.open(part.file).read() for part in parts.of(job["job"]))
    assert written == b"0|T|1||\n1|T|1||\n2|T|1||\n3|T|1||\n4|U|x|y|z\n"
