"""The layout of a report: the catalog's columns if there are any, fixed when the report is accepted."""

from __future__ import annotations

import json

import pytest

from app.exceptions import InputInvalid
from app.exports.layout import COLUMNS, POSITIONAL, Layout
from app.store.models import ObservedCode, Report
from tests.support.client import event


def catalog(services, columns: list[str], *types: tuple[str, str, list[str]], **more: str) -> None:
    document = {
        "products": [{"code": "PORTFOLIO", "columns": columns, **more}],
        "types": [{"code": code, "product": product, "context": context} for code, product, context in types],
    }
    services.catalog.put(json.dumps(document).encode())


def cells(client, *, header: bool = False, **output: object) -> list[str]:
    """Return the lines of a report without the timestamp."""
    _, file = client.run_report({**output, "header": header})
    return [line.partition("|")[2] for line in file.decode().splitlines()]


def test_a_product_without_columns_is_positional(services):
    assert services.catalog.layout("PORTFOLIO", None) == Layout(POSITIONAL)
    assert services.catalog.layout("PORTFOLIO", "positional") == Layout(POSITIONAL)


def test_a_product_with_columns_uses_them_unless_positional_is_requested(services):
    catalog(services, ["userId"], ("LOADED", "PORTFOLIO", ["userId"]))
    assert services.catalog.layout("PORTFOLIO", None) == Layout(COLUMNS, ("userId", "*"), {"LOADED": ("userId",)})
    assert services.catalog.layout("PORTFOLIO", "positional") == Layout(POSITIONAL)


def test_columns_are_rejected_if_the_catalog_has_none(services):
    with pytest.raises(InputInvalid) as error:
        services.catalog.layout("PORTFOLIO", "columns")
    assert error.value.field_errors[0].message == (
        'output.layout is "columns", but the catalog has no columns for PORTFOLIO; use "positional".'
    )


def test_a_layout_survives_serialization():
    layout = Layout(COLUMNS, ("b", "*"), {"T": ("a", "b")})
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_columns_are_filled_by_item_name(admin, services):
    catalog(
        services, ["userId", "viewName", "symbol"],
        ("LOADED", "PORTFOLIO", ["userId", "viewName"]), ("ADDED", "PORTFOLIO", ["symbol", "userId"]),
    )  # fmt: skip
    admin.send(event(type="LOADED", context=["u", "v"]), event(type="ADDED", context=["s", "u"]))
    assert cells(admin, header=True) == ["type|userId|viewName|symbol|extra", "LOADED|u|v||", "ADDED|u||s|"]


def test_a_context_may_be_shorter_or_longer_than_the_catalog_s_names(admin, services):
    catalog(services, ["userId", "viewName"], ("LOADED", "PORTFOLIO", ["userId", "viewName"]))
    admin.send(*[event(type="LOADED", context=items) for items in ([], ["u"], ["u", None], ["u", "v", "more"])])
    assert cells(admin) == ["LOADED|||", "LOADED|u||", "LOADED|u||", 'LOADED|u|v|"[""more""]"']


def test_items_without_a_column_are_written_as_json_in_the_last_one(admin, services):
    catalog(services, ["userId"], ("LOADED", "PORTFOLIO", ["userId", "viewName", "theme"]))
    admin.send(
        event(type="LOADED", context=["u"]),
        event(type="LOADED", context=["u", "v"]),
        event(type="LOADED", context=["u", None, 'd"k', "fourth"]),
        event(type="UNKNOWN", context=["a", "ü🐎"]),
        event(type="UNKNOWN", context=[]),
    )
    assert cells(admin, header=True) == [
        "type|userId|extra",
        "LOADED|u|",
        'LOADED|u|"[""v""]"',
        'LOADED|u|"[null,""d\\""k"",""fourth""]"',
        'UNKNOWN||"[""a"",""ü🐎""]"',
        "UNKNOWN||",
    ]


def test_a_star_in_an_old_document_is_the_extra_column_and_an_item_named_star_is_an_item(admin, services):
    catalog(services, ["*", "userId"], ("LOADED", "PORTFOLIO", ["*", "userId"]))
    admin.send(event(type="LOADED", context=["star", "u"]))
    assert cells(admin) == ['LOADED|u|"[""star""]"']


def test_a_report_accepted_by_an_older_version_keeps_the_place_of_the_star(admin, services):
    admin.send(event(type="LOADED", context=["u", "v"]))
    job = admin.start_report({"layout": "positional"})
    layout = Layout(COLUMNS, ("*", "userId"), {"LOADED": ("userId",)})
    Report.update(layout=layout.to_json()).where(Report.job == job["job"]).execute()
    services.runner.run(job["job"])
    assert admin.download(job["source"]).decode().endswith('|LOADED|"[""v""]"|u\n')


def test_dropped_items_are_counted_by_row(admin, services):
    catalog(services, ["viewName"], ("LOADED", "PORTFOLIO", ["userId", "viewName"]), extra="drop")
    admin.send(
        event(type="LOADED", context=[]),
        event(type="LOADED", context=["u", "v"]),
        event(type="LOADED", context=["u", "v", "w"]),
        event(type="UNKNOWN", context=["x"]),
        event(type="UNKNOWN", context=[]),
    )
    ObservedCode.delete().execute()  # without observed codes, every row is inspected
    job, file = admin.run_report()
    assert [line.split("|")[1:] for line in file.decode().splitlines()] == [
        ["LOADED", ""], ["LOADED", "v"], ["LOADED", "v"], ["UNKNOWN", ""], ["UNKNOWN", ""],
    ]  # fmt: skip
    assert admin.get(f"/reports/{job['source']}/progress").get_json()["rows_with_extra_context"] == 3


def test_dropped_rows_are_counted_only_if_the_layout_drops_items(admin, services):
    catalog(services, ["viewName"], ("LOADED", "PORTFOLIO", ["userId", "viewName"]))
    admin.send(event(type="LOADED", context=["u", "v", "w"]))
    for output in (None, {"layout": "positional"}):
        job, _ = admin.run_report(output)
        assert "rows_with_extra_context" not in admin.get(f"/reports/{job['source']}/progress").get_json()


def test_of_a_repeated_name_the_first_item_fills_the_column():
    layout = Layout(COLUMNS, ("a", "*"), {"T": ("a", "a", "b")})
    assert layout.place("T", "a") == 0
    assert layout.extras("T") == ((1, 2), 3)


def test_a_type_of_the_product_has_precedence_over_the_same_type_of_another(admin, services):
    catalog(
        services, ["a", "b"],
        ("OPENED", "ANOTHER", ["b", "a"]), ("OPENED", "PORTFOLIO", ["a", "b"]), ("OPENED", "ZOO", ["b", "a"]),
        ("ONLY-ELSEWHERE", "ANOTHER", ["b", "a"]),
    )  # fmt: skip
    admin.send(event(type="OPENED", context=["1", "2"]), event(type="ONLY-ELSEWHERE", context=["1", "2"]))
    assert cells(admin) == ["OPENED|1|2|", "ONLY-ELSEWHERE|2|1|"]


def test_a_positional_row_is_padded_to_the_widest_row_of_the_report(admin):
    admin.send(event(context=[]), event(context=["a", "b", "c"]), event(context=[None]))
    admin.send(event(product="WATCHLIST", context=["a"] * 9))
    kind = "PORTFOLIO-APPLICATION-LOADED"
    assert cells(admin, header=True) == [
        "type|context1|context2|context3", f"{kind}|||", f"{kind}|a|b|c", f"{kind}|||",
    ]  # fmt: skip


def test_a_change_of_the_catalog_does_not_affect_accepted_reports(admin, services):
    catalog(services, ["userId"], ("LOADED", "PORTFOLIO", ["userId"]))
    admin.send(event(type="LOADED", context=["u", "v"]))
    job = admin.start_report({"header": True})
    catalog(services, ["viewName"], ("LOADED", "PORTFOLIO", ["x", "viewName"]))
    services.runner.run(job["job"])
    assert admin.download(job["source"]).decode().splitlines()[0] == "timestamp|type|userId|extra"


@pytest.mark.parametrize("columns", [[f"column{number}" for number in range(100)], ["a'b", 'c"d', "e%f", "?", "$1"]])
def test_columns_may_have_any_names(admin, services, columns):
    catalog(services, columns, ("T'%?", "PORTFOLIO", columns[::-1]))
    admin.send(event(type="T'%?", context=[f"of {name}" for name in columns[::-1]]))
    assert cells(admin, delimiter="\t")[0].split("\t")[1:] == []
