"""Catalog pages: the lists, an entry with its use, and observed codes that are not in the catalog."""

from __future__ import annotations

import json

import pytest

from app.store.events import hourly_counts
from app.support.clock import now
from tests.admin.catalog.conftest import PRODUCT, TYPE, audit_entries, entries
from tests.support.client import event

PAGE, MISSING, ADOPT = "/admin/catalog", "/admin/catalog/missing", "/admin/catalog/adopt"


def test_each_kind_is_listed_with_its_use(olga, filled):
    product = olga.read(PAGE).row("product PORTFOLIO")
    type = olga.read(f"{PAGE}/types").row(f"type {TYPE} of PORTFOLIO")
    assert "userId" in product
    for row in (product, type):
        assert [cell.text for cell in row.all("td", class_="count")] == ["3", "4"]
    assert "customer HARBORLINE" in olga.read(f"{PAGE}/customers").row_keys()


def test_an_open_catalog_explains_its_mode(olga):
    assert "Open: events with any code are accepted" in olga.read(PAGE)


@pytest.mark.settings(catalog_mode="strict")
def test_a_strict_catalog_explains_its_mode(olga):
    strict = "Strict: events with a customer, product or type that is not in the catalog are rejected."
    assert strict in olga.read(PAGE)


def test_a_search_matches_codes_and_descriptions(olga, sample_catalog):
    assert olga.read(f"{PAGE}/types?find=sorted").row_keys("type ") == ["WATCHLIST-SORTED of WATCHLIST"]
    assert "No code or description contains “nothing at all”" in olga.read(f"{PAGE}/types?find=nothing+at+all")


def test_a_long_list_is_paginated(olga, services, monkeypatch):
    monkeypatch.setattr("app.admin.catalog.catalog.PAGE_SIZE", 4)
    services.catalog.put(json.dumps({"customers": [{"code": f"C{number}"} for number in range(9)]}).encode())
    shown = [key for page in olga.pages(f"{PAGE}/customers", "Next") for key in page.row_keys("customer ")]
    assert shown == [f"C{number}" for number in range(9)]
    for number in ("x", "99999999999"):
        assert olga.get(f"{PAGE}?page={number}").status_code == 200


def test_observed_codes_that_are_missing_are_listed(olga, filled):
    assert olga.read(MISSING).row_keys() == ["customer OTHER", "product NEWS", "type READ of NEWS"]
    assert olga.read(PAGE).first(class_="tally").text == "3"


def test_a_type_observed_under_another_product_is_not_missing(olga, sample_catalog, admin):
    admin.send(event(product="WATCHLIST"))
    assert "All codes seen are in the catalog." in olga.read(MISSING)


def test_a_missing_code_is_added_with_one_click(olga, filled, services):
    answer = olga.send(ADOPT, {"kind": "types", "product": "NEWS", "code": "READ"}, form=MISSING)
    assert answer.status_code == 302
    assert entries(services, "types")["READ"] == {"code": "READ", "description": "", "product": "NEWS", "context": []}
    page = olga.read(MISSING)
    assert "The type READ of NEWS is added to the catalog." in page
    assert page.link("Name its context values") == f"{PAGE}/type?code=READ&product=NEWS"
    assert page.row_keys() == ["customer OTHER", "product NEWS"]
    assert audit_entries() == [("catalog changed", "type READ of NEWS")]


def test_all_missing_codes_are_added_with_one_click(olga, filled, services):
    olga.send(ADOPT, {}, form=MISSING)
    assert "3 codes are added to the catalog." in olga.read(MISSING)
    assert "OTHER" in entries(services, "customers")
    assert "NEWS" in entries(services, "products")
    assert len(audit_entries()) == 3


def test_a_code_that_was_never_observed_is_not_added(olga, filled, services):
    olga.send(ADOPT, {"kind": "customers", "code": "INVENTED"}, form=MISSING)
    assert "INVENTED" not in entries(services, "customers")
    assert audit_entries() == []


def test_adding_an_existing_entry_leaves_it_unchanged(olga, filled, services):
    olga.send(ADOPT, {"kind": "products", "code": "PORTFOLIO"}, form=MISSING)
    assert entries(services, "products")["PORTFOLIO"]["columns"]
    assert "Already in the catalog." in olga.read(PAGE)


def test_an_entry_is_shown_in_full(olga, filled):
    page = olga.read(PRODUCT)
    assert "3 events in the last 24 hours, 4 in the last 7 days." in page
    assert page.all(aria_label="Events by day: 4 in 30 days, at most 3 on one")
    assert TYPE in [code.text for code in page.all("a", class_="listed")]
    assert page.value("columns").startswith("userId\nportfolioId")
    page = olga.read(f"{PAGE}/type?code={TYPE}&product=PORTFOLIO")
    assert page.value("context") == "userId\nviewName"
    assert "BARCHART" in [code.text for code in page.all("a", class_="listed")]
    assert "No events yet." in olga.read(f"{PAGE}/customer?code=FERNHILL")


def test_the_page_of_a_type_names_its_items_without_a_column(olga, sample_catalog):
    address = f"{PAGE}/type?product=PORTFOLIO&code="
    page = olga.read(f"{address}PORTFOLIO-VIEW-CHANGED")
    assert "columns of PORTFOLIO lack previousViewName" in page
    assert "so reports have it in extra" in page
    assert "columns of PORTFOLIO lack" not in olga.read(f"{address}PORTFOLIO-CREATED")


def test_a_limited_user_sees_only_entries_of_their_customers(anna, limited, filled, boss):
    for user in (anna, limited):
        everything = "".join(user.see(PAGE + path) for path in ("", "/types", "/customers", "/missing", "/export"))
        assert "BARCHART" in everything
        assert "PORTFOLIO" in everything
        for hidden in ("OTHER", "NEWS", "READ", "HARBORLINE", "WATCHLIST", "Import<", "New product"):
            assert hidden not in everything
        assert user.get(f"{PAGE}/customer?code=HARBORLINE").status_code == 404
        assert user.get(f"{PAGE}/product?code=WATCHLIST").status_code == 404
        page = user.see(PRODUCT)
        assert "OTHER" not in page
        assert "Save" not in page
    assert "WATCHLIST" in boss.read(PAGE)


def test_numbers_include_only_visible_customers(anna, filled, admin):
    admin.send(*[event(customer="OTHER", timestamp=now()) for _ in range(5)])
    hourly_counts.advance()
    page = anna.read(PRODUCT)
    assert "3 events in the last 24 hours, 4 in the last 7 days." in page
    assert page.all(aria_label="Events by day: 4 in 30 days, at most 3 on one")


def test_report_forms_and_errors_name_only_visible_codes(anna, analyst, filled):
    page = anna.see("/admin/reports/new")
    assert "PORTFOLIO" in page
    for hidden in ("OTHER", "NEWS", "WATCHLIST", "HARBORLINE"):
        assert hidden not in page
    answer = analyst.post("/reports", {"filter": {"customer": "BARCHART", "product": "NEWS"}})
    assert answer.status_code == 400
    assert 'NEWS", which is not known; the nearest known: PORTFOLIO.' in answer.get_data(as_text=True).replace("\\", "")


@pytest.mark.parametrize(
    "path",
    ["product", "product?code=NOTHING", f"type?code={TYPE}", f"type?code={TYPE}&product=ALERT", "nothing?code=X"],
)
def test_an_unknown_entry_is_not_found(olga, sample_catalog, path):
    assert olga.get(f"{PAGE}/{path}").status_code == 404


def test_the_refreshing_part_keeps_the_search(olga, sample_catalog):
    part = olga.read(f"{PAGE}/part?kind=types&find=alert")
    assert part.children[0]["data-live"] == f"{PAGE}/part?kind=types&find=alert"
    assert "ALERT-CREATED" in part
    assert "PORTFOLIO-CREATED" not in part
    assert olga.get(f"{PAGE}/part?kind=nothing").status_code == 200


@pytest.mark.parametrize(
    ("code", "mark"),
    [
        ("PORT\u200bFOLIO", r"PORT\u200bFOLIO"),
        ("PORTFOLIO ", r"PORTFOLIO\x20"),
        ("\u202ePORTFOLIO", r"\u202ePORTFOLIO"),
        ("Zu\u0308rich", r"Zu\u0308rich"),
        ("\u0420ORTFOLIO", r"\u0420ORTFOLIO"),  # a Cyrillic letter
        ("Zürich", None),
        ("Портфель", None),
        ("A B", None),
    ],
)
def test_a_code_that_may_be_mistaken_for_another_is_marked(boss, admin, code, mark):
    admin.send(event(product="PORTFOLIO"), event(product=code))
    row = boss.read(MISSING).row(f"product {code}")
    assert row.first("bdi").content == code
    assert [element.content for element in row.all(class_="odd")] == ([mark] if mark else [])
    options = boss.read("/admin/reports/new").first("select", id="product").all("option")
    label = f"{code} ({mark})" if mark else code
    assert label in [element.content for element in options if (element["value"] or element.content) == code]
