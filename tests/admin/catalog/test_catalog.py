"""The catalog as people see and change it."""

from __future__ import annotations

import html
import io
import json
import re

import pytest

from app.exceptions import CatalogUnknown
from app.services.catalog.listing import row_of
from app.services.people.principal import SYSTEM
from app.store.events import hourly_counts
from app.store.models import AuditEntry
from tests.admin.conftest import TOKEN, Visitor
from tests.conftest import PASSWORD
from tests.support.client import event

TYPE = "PORTFOLIO-APPLICATION-LOADED"
PRODUCT = "/admin/catalog/product?code=PORTFOLIO"
XSS = "<script>alert(1)</script>"


@pytest.fixture
def olga(operator, app) -> Visitor:
    """An operator, signed in."""
    return Visitor(app).sign_in("olga")


@pytest.fixture
def limited(app, services) -> Visitor:
    """An operator of the customer BARCHART only, signed in."""
    services.accounts.add("otto", "operator", ["BARCHART"], PASSWORD)
    return Visitor(app).sign_in("otto")


@pytest.fixture
def filled(sample_catalog, admin):
    """The sample catalog, and events of now: BARCHART's with known codes, OTHER's with unknown ones."""
    from app.support.clock import now

    moment = now()
    admin.send(*[event(timestamp=moment) for _ in range(3)], event(timestamp=moment - 3 * 86_400_000))
    admin.send(event(customer="OTHER", product="NEWS", type="READ", timestamp=moment))
    hourly_counts.advance()


def entries(services, kind: str) -> dict[str, dict]:
    return {row["code"]: row for row in services.catalog.export()[kind]}


def noted() -> list[tuple[str, str]]:
    rows = AuditEntry.select().where(AuditEntry.action.startswith("catalog")).order_by(AuditEntry.id)
    return [(row.action, row.object) for row in rows]


def wrong(answer, field: str) -> str:
    """What stands beside a field."""
    page = html.unescape(answer.get_data(as_text=True))
    found = re.search(rf'<p class="wrong" id="{field}-wrong">(.*?)</p>', page, re.DOTALL)
    return " ".join(re.findall(r"<span>(.*?)</span>", found[1])) if found else ""


def test_each_kind_is_listed_with_its_use(olga, filled):
    products = olga.see("/admin/catalog")
    assert "userId</bdi><bdi>portfolioId" in products
    row = re.search(r'<tr[^>]* data-key="product PORTFOLIO">.*?</tr>', products, re.DOTALL)[0]
    assert re.findall(r'<td class="count \w+">(\d+)</td>', row) == ["3", "4"]
    types = olga.see("/admin/catalog/types")
    row = re.search(rf'<tr[^>]* data-key="type {TYPE} of PORTFOLIO">.*?</tr>', types, re.DOTALL)[0]
    assert re.findall(r'<td class="count \w+">(\d+)</td>', row) == ["3", "4"]
    assert "HARBORLINE" in olga.see("/admin/catalog/customers")


def test_it_says_whether_it_is_open_and_what_that_means(olga):
    assert "Open: events with any code are accepted" in olga.see("/admin/catalog")


@pytest.mark.settings(catalog_mode="strict")
def test_it_says_whether_it_is_strict_and_what_that_means(olga):
    assert "Strict: events with a customer, product or type that is not in the catalog are rejected." in olga.see(
        "/admin/catalog"
    )


def test_the_left_bar_leads_there(olga):
    assert '<a href="/admin/catalog" aria-current="page">' in olga.see("/admin/catalog/types")


def test_what_is_looked_for_is_found_in_codes_and_descriptions(olga, sample_catalog):
    found = olga.see("/admin/catalog/types?find=sorted")
    assert re.findall(r'data-key="type ([\w-]+) of', found) == ["WATCHLIST-SORTED"]
    assert "No code or description contains “nothing at all”" in olga.see("/admin/catalog/types?find=nothing+at+all")


def test_a_long_list_comes_a_page_at_a_time(olga, services, monkeypatch):
    monkeypatch.setattr("app.admin.catalog.catalog.PAGE_SIZE", 4)
    services.catalog.put(json.dumps({"customers": [{"code": f"C{number}"} for number in range(9)]}).encode())
    path, shown = "/admin/catalog/customers", []
    while path:
        page = olga.see(path)
        shown += re.findall(r'data-key="customer (C\d)"', page)
        more = re.search(r'href="([^"]+)">Next<', page)
        path = more and more[1]
    assert shown == [f"C{number}" for number in range(9)]
    assert (
        olga.get("/admin/catalog?page=x").status_code == olga.get("/admin/catalog?page=99999999999").status_code == 200
    )


def test_what_was_seen_and_is_not_there_is_listed(olga, filled):
    page = olga.see("/admin/catalog/missing")
    assert re.findall(r'data-key="([^"]+)"', page) == ["customer OTHER", "product NEWS", "type READ of NEWS"]
    assert '<span class="tally">3</span>' in olga.see("/admin/catalog")


def test_a_type_under_another_product_than_the_catalog_s_is_not_missing(olga, sample_catalog, admin):
    admin.send(event(product="WATCHLIST"))
    assert "All codes seen are in the catalog." in olga.see("/admin/catalog/missing")


def test_one_click_takes_a_code_in(olga, filled, services):
    answer = olga.send(
        "/admin/catalog/adopt",
        {"kind": "types", "product": "NEWS", "code": "READ"},
        form="/admin/catalog/missing",
    )
    assert answer.status_code == 302
    assert entries(services, "types")["READ"] == {"code": "READ", "description": "", "product": "NEWS", "context": []}
    page = olga.see("/admin/catalog/missing")
    assert "The type READ of NEWS is added to the catalog." in page
    assert '<a href="/admin/catalog/type?code=READ&product=NEWS">Name its context values</a>.' in page
    assert re.findall(r'data-key="([^"]+)"', page) == ["customer OTHER", "product NEWS"]
    assert noted() == [("catalog changed", "type READ of NEWS")]


def test_one_more_click_takes_all_of_them_in(olga, filled, services):
    olga.send("/admin/catalog/adopt", {}, form="/admin/catalog/missing")
    assert "3 codes are added to the catalog." in olga.see("/admin/catalog/missing")
    assert "OTHER" in entries(services, "customers")
    assert "NEWS" in entries(services, "products")
    assert len(noted()) == 3


def test_what_was_never_seen_is_not_taken_in(olga, filled, services):
    olga.send("/admin/catalog/adopt", {"kind": "customers", "code": "INVENTED"}, form="/admin/catalog/missing")
    assert "INVENTED" not in entries(services, "customers")
    assert noted() == []


def test_an_entry_that_is_there_keeps_its_values_when_it_is_clicked_once_more(olga, filled, services):
    olga.send("/admin/catalog/adopt", {"kind": "products", "code": "PORTFOLIO"}, form="/admin/catalog/missing")
    assert entries(services, "products")["PORTFOLIO"]["columns"]
    assert "Already in the catalog." in olga.see("/admin/catalog")


def test_an_entry_is_told_in_full(olga, filled):
    page = olga.see(PRODUCT)
    assert "3 events in the last 24 hours, 4 in the last 7 days." in page
    assert "Events by day: 4 in 30 days, at most 3 on one" in page
    assert f'<bdi class="code listed">{TYPE}</bdi>' in page
    assert "userId\nportfolioId" in page
    page = olga.see(f"/admin/catalog/type?code={TYPE}&product=PORTFOLIO")
    assert ">userId\nviewName</textarea>" in page
    assert '<bdi class="code listed">BARCHART</bdi>' in page
    assert "No events yet." in olga.see("/admin/catalog/customer?code=FERNHILL")


def test_an_entry_is_changed(olga, sample_catalog, services):
    assert '<option value="drop">Leave them out</option>' in olga.see(PRODUCT)
    fields = {"description": "Worth", "columns": " userId \r\n\r\nsymbol", "extra": "drop"}
    assert olga.send(PRODUCT, fields).status_code == 302
    changed = {"code": "PORTFOLIO", "description": "Worth", "columns": ["userId", "symbol"], "extra": "drop"}
    assert entries(services, "products")["PORTFOLIO"] == changed
    assert "Applies to reports started from now on." in olga.see(PRODUCT)
    assert noted() == [("catalog changed", "product PORTFOLIO")]
    details = AuditEntry.get(AuditEntry.action == "catalog changed").details
    assert (details["columns"], details["extra"], details["extra before"]) == (["userId", "symbol"], "drop", "column")
    assert '<option value="drop" selected>' in olga.see(PRODUCT)
    assert details["columns before"][:2] == ["userId", "portfolioId"]


def test_a_type_is_changed_under_its_own_product_only(olga, services):
    types = [{"code": "OPENED", "product": product, "context": ["a"]} for product in ("ONE", "TWO")]
    services.catalog.put(json.dumps({"types": types}).encode())
    olga.send("/admin/catalog/type?code=OPENED&product=TWO", {"description": "", "context": "b", "product": "ONE"})
    assert [row["context"] for row in services.catalog.export()["types"]] == [["a"], ["b"]]


def test_an_entry_is_added(olga, sample_catalog, services):
    fields = {"code": "NEW", "product": "ALERT", "description": "Fresh", "context": "userId\nreason"}
    assert olga.send("/admin/catalog/type/new", fields).status_code == 302
    added = {"code": "NEW", "description": "Fresh", "product": "ALERT", "context": ["userId", "reason"]}
    assert entries(services, "types")["NEW"] == added
    assert noted() == [("catalog changed", "type NEW of ALERT")]


@pytest.mark.parametrize(
    ("word", "fields", "field", "told"),
    [
        ("product", {"code": ""}, "code", "Code is missing."),
        ("product", {"code": "x" * 129}, "code", "Code has 129 characters; it must be a string of 1 to 128"),
        ("product", {"code": "PORTFOLIO"}, "code", 'Code is "PORTFOLIO", which the catalog has already.'),
        ("type", {"code": TYPE, "product": "PORTFOLIO"}, "code", "which the catalog has already under PORTFOLIO."),
        ("type", {"code": "NEW", "product": ""}, "product", "Product is missing."),
        ("product", {"code": "NEW", "columns": "a\nb\na"}, "columns", "Columns has a name twice"),
        ("product", {"code": "NEW", "columns": "x" * 129}, "columns", "Columns has 129 characters"),
        ("type", {"code": "NEW", "product": "P", "context": "a\na"}, "context", "Context has a name twice"),
        ("customer", {"code": "NEW", "description": "x" * 1001}, "description", "Description is"),
    ],
)
def test_each_fault_stands_beside_its_field(olga, sample_catalog, services, word, fields, field, told):
    before = services.catalog.export()
    answer = olga.send(f"/admin/catalog/{word}/new", fields)
    assert answer.status_code == 400
    assert told in wrong(answer, field)
    assert services.catalog.export() == before
    assert noted() == []


def test_what_was_typed_stays_beside_its_fault(olga, sample_catalog):
    answer = olga.send(PRODUCT, {"description": XSS, "columns": "a\na"})
    assert answer.status_code == 400
    assert f">{html.escape(XSS)}</textarea>" in answer.get_data(as_text=True)
    assert "Columns has a name twice" in wrong(answer, "columns")


def test_before_a_product_goes_it_says_what_its_reports_lose(olga, sample_catalog, services):
    page = olga.see("/admin/catalog/product/remove?code=WATCHLIST")
    assert "New reports will use positional columns instead of:" in page
    assert "<bdi>watchlistId</bdi><bdi>symbol</bdi>" in page
    assert "Remove its 4 types as well" in page
    assert "The catalog is open: its events are still accepted" in page
    assert "WATCHLIST" in entries(services, "products")
    assert olga.send("/admin/catalog/product/remove?code=WATCHLIST", {}).status_code == 302
    assert "WATCHLIST" not in entries(services, "products")
    assert len([row for row in services.catalog.export()["types"] if row["product"] == "WATCHLIST"]) == 4
    assert noted() == [("catalog removed", "product WATCHLIST")]


def test_a_product_takes_its_types_along_if_asked_to(olga, sample_catalog, services):
    olga.send("/admin/catalog/product/remove?code=WATCHLIST", {"with_types": "y"})
    assert {row["product"] for row in services.catalog.export()["types"]} == {"PORTFOLIO", "ALERT"}


def test_before_a_type_goes_it_says_which_columns_stay_empty(olga, sample_catalog, services):
    page = olga.see(f"/admin/catalog/type/remove?code={TYPE}&product=PORTFOLIO")
    assert "events of this type leave these columns empty" in page
    assert "<bdi>userId</bdi><bdi>viewName</bdi>" in page
    olga.send(f"/admin/catalog/type/remove?code={TYPE}&product=PORTFOLIO", {})
    assert TYPE not in entries(services, "types")


def test_a_type_with_a_namesake_elsewhere_leaves_no_column_empty(olga, services):
    types = [{"code": "OPENED", "product": product, "context": ["a"]} for product in ("ONE", "TWO")]
    products = [{"code": "ONE", "columns": ["a"]}]
    services.catalog.put(json.dumps({"products": products, "types": types}).encode())
    assert "No report's columns change." in olga.see("/admin/catalog/type/remove?code=OPENED&product=ONE")


@pytest.mark.settings(catalog_mode="strict")
def test_in_strict_mode_it_says_that_events_will_be_rejected_and_they_are(olga, sample_catalog, services, nobody):
    page = olga.see(f"/admin/catalog/type/remove?code={TYPE}&product=PORTFOLIO")
    assert "events of this type will be rejected" in page
    nobody.send(event())
    olga.send(f"/admin/catalog/type/remove?code={TYPE}&product=PORTFOLIO", {})
    assert nobody.post("/events", [event()]).status_code == 400


@pytest.mark.settings(catalog_mode="strict")
def test_in_strict_mode_a_namesake_keeps_events_accepted_and_it_says_so(olga, services):
    types = [{"code": "OPENED", "product": product} for product in ("ONE", "TWO")]
    services.catalog.put(json.dumps({"types": types}).encode())
    page = olga.see("/admin/catalog/type/remove?code=OPENED&product=ONE")
    assert "has a type of this code under another product: its events are still accepted" in page


def test_the_document_is_exported_as_it_would_be_imported(olga, sample_catalog, services):
    answer = olga.get("/admin/catalog/export")
    assert answer.content_type == "application/json"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="catalog.json"'
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert json.loads(answer.get_data()) == services.catalog.export()


DOCUMENT = {
    "customers": [{"code": "ACME", "description": "New"}, {"code": "FERNHILL", "description": "Another"}],
    "products": [],
    "types": [],
}


def test_a_document_is_looked_at_before_it_is_imported(olga, sample_catalog, services):
    before = services.catalog.export()
    text = json.dumps(DOCUMENT)
    page = html.unescape(olga.send("/admin/catalog/import", {"text": text}).get_data(as_text=True))
    assert "<b>Added: 1</b>" in page
    assert "customer ACME" in page
    assert "<b>Changed: 1</b>" in page
    assert services.catalog.export() == before
    assert text in page
    answer = olga.send("/admin/catalog/import", {"text": text, "import": "y"})
    assert answer.status_code == 302
    assert "1 entry is added, 1 entry is changed, 0 unchanged." in olga.see("/admin/catalog")
    assert entries(services, "customers")["ACME"]["description"] == "New"
    assert noted() == [("catalog imported", "")]


def test_a_file_is_taken_too_and_stands_in_the_form_afterwards(olga, services):
    token = TOKEN.search(olga.get("/admin/catalog/import").get_data(as_text=True))[1]
    file = (io.BytesIO(json.dumps(DOCUMENT).encode()), "../../evil.json")
    answer = olga.post("/admin/catalog/import", {"csrf_token": token, "file": file})
    page = html.unescape(answer.get_data(as_text=True))
    assert "<b>Added: 2</b>" in page
    assert json.dumps(DOCUMENT) in page


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "The document is not valid JSON"),
        ("[]", "catalog is an array; it must be an object"),
        ('{"customers": [{"code": ""}]}', "customers[0].code has 0 characters"),
        ('{"customers": [{"code": "\\ud800"}]}', "has a lone surrogate"),
    ],
)
def test_what_is_no_document_is_told_and_changes_nothing(olga, services, text, told):
    for fields in ({"text": text}, {"text": text, "import": "y"}):
        answer = olga.send("/admin/catalog/import", fields)
        assert answer.status_code == 400
        assert told in wrong(answer, "text")
    assert services.catalog.is_empty()


def test_a_file_beyond_every_measure_is_refused(olga, services):
    token = TOKEN.search(olga.get("/admin/catalog/import").get_data(as_text=True))[1]
    for size in (4_000_001, 11_000_000):
        file = (io.BytesIO(b" " * size), "catalog.json")
        assert olga.post("/admin/catalog/import", {"csrf_token": token, "file": file}).status_code == 413


CHANGES = [
    ("/admin/catalog/adopt", {}),
    ("/admin/catalog/adopt", {"kind": "customers", "code": "OTHER"}),
    (PRODUCT, {"description": "changed", "columns": ""}),
    ("/admin/catalog/customer/new", {"code": "NEW"}),
    ("/admin/catalog/product/remove?code=PORTFOLIO", {}),
    ("/admin/catalog/import", {"text": json.dumps(DOCUMENT), "import": "y"}),
]


@pytest.mark.parametrize(("path", "fields"), CHANGES)
def test_who_sees_some_customers_only_changes_nothing(anna, limited, filled, services, path, fields):
    before = services.catalog.export()
    for somebody in (anna, limited):
        assert somebody.send(path, fields, form="/admin/").status_code == 403
    assert services.catalog.export() == before
    assert noted() == []


@pytest.mark.parametrize(("path", "fields"), CHANGES)
def test_a_form_without_its_token_does_nothing(olga, filled, services, path, fields):
    before = services.catalog.export()
    assert olga.post(path, fields).status_code == 400
    assert services.catalog.export() == before


def test_who_sees_some_customers_only_sees_what_concerns_them(anna, limited, filled, boss):
    for somebody in (anna, limited):
        everything = "".join(
            somebody.see(f"/admin/catalog{path}") for path in ("", "/types", "/customers", "/missing", "/export")
        )
        assert "BARCHART" in everything
        assert "PORTFOLIO" in everything
        for others in ("OTHER", "NEWS", "READ", "HARBORLINE", "WATCHLIST", "Import<", "New product"):
            assert others not in everything
        assert somebody.get("/admin/catalog/customer?code=HARBORLINE").status_code == 404
        assert somebody.get("/admin/catalog/product?code=WATCHLIST").status_code == 404
        page = somebody.see(PRODUCT)
        assert "OTHER" not in page
        assert "Save" not in page
    assert "WATCHLIST" in boss.see("/admin/catalog")


def test_numbers_are_of_the_customers_that_one_may_see(anna, filled, admin):
    from app.support.clock import now

    admin.send(*[event(customer="OTHER", timestamp=now()) for _ in range(5)])
    hourly_counts.advance()
    page = anna.see(PRODUCT)
    assert "3 events in the last 24 hours, 4 in the last 7 days." in page
    assert "4 in 30 days, at most 3 on one" in page


def test_reports_offer_only_what_concerns_one(anna, filled):
    page = anna.see("/admin/reports/new")
    assert "PORTFOLIO" in page
    for others in ("OTHER", "NEWS", "WATCHLIST", "HARBORLINE"):
        assert others not in page


def test_a_report_about_an_unknown_product_names_only_those_that_concern_one(analyst, filled):
    answer = analyst.post("/reports", {"filter": {"customer": "BARCHART", "product": "NEWS"}})
    assert answer.status_code == 400
    assert 'NEWS", which is not known; the nearest known: PORTFOLIO.' in answer.get_data(as_text=True).replace("\\", "")


@pytest.mark.parametrize(
    "path",
    ["product", "product?code=NOTHING", f"type?code={TYPE}", f"type?code={TYPE}&product=ALERT", "nothing?code=X"],
)
def test_what_is_not_there_is_not_found(olga, sample_catalog, path):
    assert olga.get(f"/admin/catalog/{path}").status_code == 404


def test_nothing_in_it_becomes_markup(olga, services, admin):
    document = {
        "customers": [{"code": XSS, "description": XSS}],
        "products": [{"code": XSS, "description": XSS, "columns": [XSS, "*"]}],
        "types": [{"code": XSS, "product": XSS, "description": XSS, "context": [XSS]}],
    }
    admin.send(event(customer=XSS + "2", product=XSS + "2", type=XSS + "2"))
    services.catalog.put(json.dumps(document).encode())
    quoted = "%3Cscript%3Ealert(1)%3C/script%3E"
    paths = ["", "/types", "/customers", "/missing", f"?find={quoted}"]
    for word in ("product", "customer", "type"):
        paths += [f"/{word}{ending}?code={quoted}&product={quoted}" for ending in ("", "/new", "/remove")]
    for path in paths:
        answer = olga.get(f"/admin/catalog{path}")
        assert answer.status_code == 200, path
        assert XSS not in answer.get_data(as_text=True), path
        assert "alert(1)" in answer.get_data(as_text=True), path


def test_its_part_is_a_part_of_it(olga, sample_catalog):
    part = olga.see("/admin/catalog/part?kind=types&find=alert")
    assert part.strip().startswith('<div data-live="/admin/catalog/part?kind=types&find=alert"')
    assert "<html" not in part
    assert "ALERT-CREATED" in part
    assert "PORTFOLIO-CREATED" not in part
    assert olga.get("/admin/catalog/part?kind=nothing").status_code == 200


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
def test_a_code_that_may_look_like_another_is_marked_and_stays_as_it_was_sent(boss, admin, code, mark):
    admin.send(event(product="PORTFOLIO"), event(product=code))
    page, form = boss.see("/admin/catalog/missing"), boss.see("/admin/reports/new")
    assert code in page and code in form
    assert ('class="odd"' in page, f"{mark}</code>" in page) == (mark is not None,) * 2
    assert (f'<option value="{code}">{code} ({mark})</option>' in form) is (mark is not None)


def test_an_entry_that_somebody_removed_meanwhile_is_told_as_not_there(services, sample_catalog):
    for kind, key in (("customers", ("BARCHART",)), ("products", ("PORTFOLIO",)), ("types", ("PORTFOLIO", TYPE))):
        found = services.catalog_listing.get(SYSTEM, kind, key)
        services.catalog_editor.remove(SYSTEM, found)
        noted = AuditEntry.select().count()
        with pytest.raises(CatalogUnknown):
            services.catalog_editor.remove(SYSTEM, found)
        with pytest.raises(CatalogUnknown):
            services.catalog_editor.change(SYSTEM, kind, row_of(found))
        assert AuditEntry.select().count() == noted
