"""The catalog: an import is atomic and updates known codes, and an export can be imported again."""

from __future__ import annotations

import itertools
import json

import pytest

from app.exceptions import BodyMalformed, InputInvalid
from app.services.catalog import listing
from app.services.people.accounts import SYSTEM
from app.store.catalog import catalog as store
from app.support.clock import now
from tests.support.client import event

DOCUMENT = {
    "customers": [{"code": "ACME", "description": "Makes everything"}],
    "products": [{"code": "SHOP", "description": "Sells it", "columns": ["userId", "item"], "extra": "drop"}],
    "types": [
        {"code": "BOUGHT", "description": "Somebody did", "product": "SHOP", "context": ["userId", "item", "price"]},
        {"code": "LOOKED", "description": "", "product": "SHOP", "context": []},
    ],
}


def put(services, document: object) -> dict[str, int]:
    return services.catalog.put(json.dumps(document).encode())


def test_an_export_equals_the_imported_document_in_the_contract_s_key_order(services):
    assert put(services, DOCUMENT) == {"customers": 1, "products": 1, "types": 2}
    assert json.dumps(services.catalog.export()) == json.dumps(DOCUMENT)


def test_importing_an_export_changes_nothing(services):
    services.catalog.load_sample()
    before = services.catalog.export()
    put(services, before)
    assert services.catalog.export() == before
    assert len(before["types"]) >= 13


def test_an_import_updates_known_codes_and_removes_none(services):
    put(services, DOCUMENT)
    put(services, {"products": [{"code": "SHOP", "description": "Sells more", "columns": ["item"]}]})
    put(services, {"types": [{"code": "LOOKED", "product": "SHOP", "description": "At it", "context": ["item"]}]})
    exported = services.catalog.export()
    assert exported["customers"] == DOCUMENT["customers"]
    assert exported["products"] == [
        {"code": "SHOP", "description": "Sells more", "columns": ["item"], "extra": "column"}
    ]
    assert [entry["context"] for entry in exported["types"]] == [["userId", "item", "price"], ["item"]]


def test_a_type_may_belong_to_two_products_with_different_contexts(services):
    types = [
        {"code": "OPENED", "description": "", "product": "ONE", "context": ["a"]},
        {"code": "OPENED", "description": "", "product": "TWO", "context": ["b"]},
    ]
    put(services, {"types": types})
    assert services.catalog.export()["types"] == types


def test_entries_are_sorted_by_code_on_either_database(services):
    codes = ["b", "B", "a-b", "aB", "Äb", "a_b", "A", "1", "é", "ab"]
    put(services, {"customers": [{"code": code} for code in codes]})
    assert [entry["code"] for entry in services.catalog.export()["customers"]] == sorted(codes)


def test_missing_parts_of_a_document_are_empty(services):
    assert put(services, {}) == {"customers": 0, "products": 0, "types": 0}
    assert services.catalog.is_empty()
    put(services, {"customers": [{"code": "A"}], "products": [{"code": "P"}], "types": [{"code": "T", "product": "P"}]})
    assert services.catalog.export() == {
        "customers": [{"code": "A", "description": ""}],
        "products": [{"code": "P", "description": "", "columns": [], "extra": "column"}],
        "types": [{"code": "T", "description": "", "product": "P", "context": []}],
    }


INVALID = [
    ({"customers": {}}, "customers"),
    ({"customers": ["ACME"]}, "customers[0]"),
    ({"customers": [{"description": "no code"}]}, "customers[0].code is missing"),
    ({"customers": [{"code": "A" * 129}]}, "customers[0].code has 129 characters"),
    ({"customers": [{"code": "two\nlines"}]}, "customers[0].code has a control character"),
    ({"customers": [{"code": 7}]}, "customers[0].code is 7"),
    ({"customers": [{"code": "A", "description": 7}]}, "customers[0].description is 7"),
    ({"customers": [{"code": "A", "description": "x" * 1001}]}, "customers[0].description"),
    ({"products": [{"code": "P", "columns": "userId"}]}, "products[0].columns is a string"),
    ({"products": [{"code": "P", "columns": ["a", "b", "a"]}]}, "products[0].columns has a name twice"),
    ({"products": [{"code": "P", "columns": [""]}]}, "products[0].columns"),
    ({"products": [{"code": "P", "columns": [None]}]}, "products[0].columns"),
    ({"products": [{"code": "P", "extra": "keep"}]}, 'products[0].extra is "keep"; it must be "column" or "drop"'),
    ({"types": [{"code": "T"}]}, "types[0].product is missing"),
    ({"types": [{"code": "T", "product": "P", "context": {}}]}, "types[0].context is an object"),
    ([], "catalog is an array"),
    ("ACME", "catalog is a string"),
]


@pytest.mark.parametrize(("wrong", "place"), INVALID, ids=[place for _, place in INVALID])
def test_an_invalid_document_names_the_invalid_field_and_changes_nothing(services, wrong, place):
    good = {"customers": [{"code": "FIRST"}], "products": [{"code": "FIRST"}], "types": []}
    document = wrong if not isinstance(wrong, dict) else good | wrong
    with pytest.raises(InputInvalid) as error:
        put(services, document)
    assert error.value.field_errors[0].message.startswith(place)
    assert services.catalog.is_empty()


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b"\xff", b'{"customers": NaN}', b"[" * 100_000])
def test_a_body_that_is_not_json_is_rejected(services, body):
    with pytest.raises(BodyMalformed):
        services.catalog.put(body)
    assert services.catalog.is_empty()


@pytest.mark.parametrize("text", [b"\\u0000", b"\\ud800"])
def test_a_character_that_databases_cannot_store_is_rejected(services, text):
    with pytest.raises(InputInvalid):
        services.catalog.put(b'{"customers": [{"code": "A", "description": "%s"}]}' % text)


def test_special_characters_survive_import_and_export(services):
    document = {
        "customers": [{"code": "Ñandú & Söhne; 'quoted' \"twice\" % ? $1", "description": "שלום\n🐎\t\\"}],
        "products": [{"code": "P", "description": "", "columns": ["*", "a b", "c|d", 'e"f'], "extra": "column"}],
        "types": [],
    }
    put(services, document)
    assert services.catalog.export() == document


def test_observed_codes_are_recorded_once_and_known_codes_include_the_catalog_s(nobody, services):
    nobody.send(event(type="B"), event(type="A"), event(type="A"))
    nobody.send(event(type="A"), event(product="WATCHLIST", type="A"))
    assert store.seen() == [
        ("BARCHART", "PORTFOLIO", "A"),
        ("BARCHART", "PORTFOLIO", "B"),
        ("BARCHART", "WATCHLIST", "A"),
    ]
    put(services, DOCUMENT)
    assert services.catalog.known() == (["ACME", "BARCHART"], ["PORTFOLIO", "SHOP", "WATCHLIST"])


def test_counts_by_day_are_complete_if_the_clock_advances_while_a_page_renders(services, nobody, monkeypatch):
    moment = now()
    nobody.send(event(timestamp=moment))
    nobody.post("/events", [event(type="")])
    services.rejected.flush()
    services.scheduler.run_all()
    ticks = itertools.count(moment)
    monkeypatch.setattr("app.services.catalog.listing.now", lambda: next(ticks))
    monkeypatch.setattr("app.services.events.rejected_groups.now", lambda: next(ticks))
    customer = listing.CatalogEntry(listing.CUSTOMERS, "BARCHART", is_catalogued=False)
    assert sum(number for _, number in services.catalog_listing.uses(SYSTEM, customer).days) == 1
    (group,) = services.rejected_groups.every(SYSTEM, "day")
    assert sum(group.trend) == 1
