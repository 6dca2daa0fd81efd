"""Changing the catalog on its pages: entries, and import of a document."""

from __future__ import annotations

import io
import json

import pytest

from app.exceptions import CatalogUnknown
from app.services.catalog.listing import row_of
from app.services.people.principal import SYSTEM
from app.store.models import AuditEntry
from tests.admin.catalog.conftest import PRODUCT, TYPE, audit_entries, entries
from tests.admin.conftest import TOKEN
from tests.support.client import event
from tests.support.page import read

XSS = "<script>alert(1)</script>"
IMPORT = "/admin/catalog/import"
REMOVE_PRODUCT = "/admin/catalog/product/remove?code=WATCHLIST"
REMOVE_TYPE = f"/admin/catalog/type/remove?code={TYPE}&product=PORTFOLIO"
DOCUMENT = {
    "customers": [{"code": "ACME", "description": "New"}, {"code": "FERNHILL", "description": "Another"}],
    "products": [],
    "types": [],
}


@pytest.fixture
def namesakes(services) -> None:
    """Put two products with a type of the same code into the catalog."""
    types = [{"code": "OPENED", "product": product, "context": ["a"]} for product in ("ONE", "TWO")]
    services.catalog.put(json.dumps({"products": [{"code": "ONE", "columns": ["a"]}], "types": types}).encode())


def test_an_entry_is_changed(olga, sample_catalog, services):
    assert olga.read(PRODUCT).value("extra") == "column"
    fields = {"description": "Worth", "columns": " userId \r\n\r\nsymbol", "extra": "drop"}
    assert olga.send(PRODUCT, fields).status_code == 302
    changed = {"code": "PORTFOLIO", "description": "Worth", "columns": ["userId", "symbol"], "extra": "drop"}
    assert entries(services, "products")["PORTFOLIO"] == changed
    page = olga.read(PRODUCT)
    assert "Applies to reports started from now on." in page
    assert page.value("extra") == "drop"
    assert audit_entries() == [("catalog changed", "product PORTFOLIO")]
    details = AuditEntry.get(AuditEntry.action == "catalog changed").details
    assert (details["columns"], details["extra"], details["extra before"]) == (["userId", "symbol"], "drop", "column")
    assert details["columns before"][:2] == ["userId", "portfolioId"]


def test_a_type_is_changed_under_its_own_product_only(olga, namesakes, services):
    olga.send("/admin/catalog/type?code=OPENED&product=TWO", {"description": "", "context": "b", "product": "ONE"})
    assert [row["context"] for row in services.catalog.export()["types"]] == [["a"], ["b"]]


def test_an_entry_is_added(olga, sample_catalog, services):
    fields = {"code": "NEW", "product": "ALERT", "description": "Fresh", "context": "userId\nreason"}
    assert olga.send("/admin/catalog/type/new", fields).status_code == 302
    added = {"code": "NEW", "description": "Fresh", "product": "ALERT", "context": ["userId", "reason"]}
    assert entries(services, "types")["NEW"] == added
    assert audit_entries() == [("catalog changed", "type NEW of ALERT")]


@pytest.mark.parametrize(
    ("word", "fields", "field", "message"),
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
def test_each_error_is_shown_beside_its_field(olga, sample_catalog, services, word, fields, field, message):
    before = services.catalog.export()
    answer = olga.send(f"/admin/catalog/{word}/new", fields)
    assert answer.status_code == 400
    assert message in read(answer).wrong(field)
    assert services.catalog.export() == before
    assert audit_entries() == []


def test_the_input_stays_beside_its_error(olga, sample_catalog):
    answer = olga.send(PRODUCT, {"description": XSS, "columns": "a\na"})
    assert answer.status_code == 400
    assert read(answer).value("description") == XSS
    assert "Columns has a name twice" in read(answer).wrong("columns")


def test_removing_a_product_shows_what_its_reports_lose(olga, sample_catalog, services):
    page = olga.read(REMOVE_PRODUCT)
    assert "New reports will use positional columns instead of:" in page
    assert [name.text for name in page.first(class_="affected").all("bdi")][1:3] == ["watchlistId", "symbol"]
    assert "Remove its 4 types as well" in page
    assert "The catalog is open: its events are still accepted" in page
    assert "WATCHLIST" in entries(services, "products")
    assert olga.send(REMOVE_PRODUCT, {}).status_code == 302
    assert "WATCHLIST" not in entries(services, "products")
    assert len([row for row in services.catalog.export()["types"] if row["product"] == "WATCHLIST"]) == 4
    assert audit_entries() == [("catalog removed", "product WATCHLIST")]


def test_a_product_is_removed_with_its_types_on_request(olga, sample_catalog, services):
    olga.send(REMOVE_PRODUCT, {"with_types": "y"})
    assert {row["product"] for row in services.catalog.export()["types"]} == {"PORTFOLIO", "ALERT"}


def test_removing_a_type_shows_which_columns_stay_empty(olga, sample_catalog, services):
    page = olga.read(REMOVE_TYPE)
    assert "events of this type leave these columns empty" in page
    lost = [[name.text for name in line.all("bdi")] for line in page.first(class_="affected").all("li")]
    assert ["PORTFOLIO", "userId", "viewName"] in [names[:3] for names in lost]
    olga.send(REMOVE_TYPE, {})
    assert TYPE not in entries(services, "types")


def test_a_type_with_a_namesake_elsewhere_leaves_no_column_empty(olga, namesakes):
    assert "No report's columns change." in olga.read("/admin/catalog/type/remove?code=OPENED&product=ONE")


@pytest.mark.settings(catalog_mode="strict")
def test_in_strict_mode_events_of_a_removed_type_are_rejected(olga, sample_catalog, services, nobody):
    assert "events of this type will be rejected" in olga.read(REMOVE_TYPE)
    nobody.send(event())
    olga.send(REMOVE_TYPE, {})
    assert nobody.post("/events", [event()]).status_code == 400


@pytest.mark.settings(catalog_mode="strict")
def test_in_strict_mode_a_type_of_the_same_code_keeps_events_accepted(olga, namesakes):
    page = olga.read("/admin/catalog/type/remove?code=OPENED&product=ONE")
    assert "has a type of this code under another product: its events are still accepted" in page


def test_the_exported_document_can_be_imported_again(olga, sample_catalog, services):
    answer = olga.get("/admin/catalog/export")
    assert answer.content_type == "application/json"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="catalog.json"'
    assert json.loads(answer.get_data()) == services.catalog.export()


def test_a_document_is_previewed_before_it_is_imported(olga, sample_catalog, services):
    before = services.catalog.export()
    text = json.dumps(DOCUMENT)
    page = read(olga.send(IMPORT, {"text": text}))
    for text_shown in ("Added: 1", "customer ACME", "Changed: 1"):
        assert text_shown in page
    assert services.catalog.export() == before
    assert page.value("text") == text
    assert olga.send(IMPORT, {"text": text, "import": "y"}).status_code == 302
    page = olga.read("/admin/catalog")
    assert "1 entry is added, 1 entry is changed, 0 unchanged. Items without a column: PORTFOLIO " in page
    assert entries(services, "customers")["ACME"]["description"] == "New"
    assert audit_entries() == [("catalog imported", "")]


def send_file(olga, content: bytes, name: str):
    token = TOKEN.search(olga.get(IMPORT).get_data(as_text=True))[1]
    return olga.post(IMPORT, {"csrf_token": token, "file": (io.BytesIO(content), name)})


def test_a_chosen_file_is_copied_into_the_text_field(olga):
    page = read(send_file(olga, json.dumps(DOCUMENT).encode(), "../../evil.json"))
    assert "Added: 2" in page
    assert page.value("text") == json.dumps(DOCUMENT)


@pytest.mark.parametrize("size", [4_000_001, 11_000_000])
def test_a_file_that_is_too_large_is_rejected(olga, size):
    assert send_file(olga, b" " * size, "catalog.json").status_code == 413


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The document is not valid JSON"),
        ("[]", "catalog is an array; it must be an object"),
        ('{"customers": [{"code": ""}]}', "customers[0].code has 0 characters"),
        ('{"customers": [{"code": "\\ud800"}]}', "has a lone surrogate"),
    ],
)
def test_an_invalid_document_is_rejected_and_changes_nothing(olga, services, text, message):
    for fields in ({"text": text}, {"text": text, "import": "y"}):
        answer = olga.send(IMPORT, fields)
        assert answer.status_code == 400
        assert message in read(answer).wrong("text")
    assert services.catalog.is_empty()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/admin/catalog/adopt", {}),
        ("/admin/catalog/adopt", {"kind": "customers", "code": "OTHER"}),
        (PRODUCT, {"description": "changed", "columns": ""}),
        ("/admin/catalog/customer/new", {"code": "NEW"}),
        ("/admin/catalog/product/remove?code=PORTFOLIO", {}),
        (IMPORT, {"text": json.dumps(DOCUMENT), "import": "y"}),
    ],
)
def test_a_limited_user_cannot_change_the_catalog(anna, limited, filled, services, path, fields):
    before = services.catalog.export()
    for user in (anna, limited):
        assert user.send(path, fields, form="/admin/").status_code == 403
    assert services.catalog.export() == before
    assert audit_entries() == []


def test_an_entry_removed_by_another_user_meanwhile_is_not_found(services, sample_catalog):
    for kind, key in (("customers", ("BARCHART",)), ("products", ("PORTFOLIO",)), ("types", ("PORTFOLIO", TYPE))):
        entry = services.catalog_listing.get(SYSTEM, kind, key)
        services.catalog_editor.remove(SYSTEM, entry)
        noted_before = AuditEntry.select().count()
        with pytest.raises(CatalogUnknown):
            services.catalog_editor.remove(SYSTEM, entry)
        with pytest.raises(CatalogUnknown):
            services.catalog_editor.change(SYSTEM, kind, row_of(entry))
        assert AuditEntry.select().count() == noted_before
