"""The catalog: imported whole or not at all, kept up to date, and exported as it would be imported again."""

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


def test_what_is_imported_is_exported_in_the_contract_s_order_of_keys(services):
    assert put(services, DOCUMENT) == {"customers": 1, "products": 1, "types": 2}
    assert json.dumps(services.catalog.export()) == json.dumps(DOCUMENT)


def test_the_export_imports_again_without_a_change(services):
    services.catalog.load_sample()
    before = services.catalog.export()
    put(services, before)
    assert services.catalog.export() == before
    assert len(before["types"]) >= 13


def test_known_codes_take_the_document_s_values_and_none_is_removed(services):
    put(services, DOCUMENT)
    put(services, {"products": [{"code": "SHOP", "description": "Sells more", "columns": ["item"]}]})
    put(services, {"types": [{"code": "LOOKED", "product": "SHOP", "description": "At it", "context": ["item"]}]})
    exported = services.catalog.export()
    assert exported["customers"] == DOCUMENT["customers"]
    assert exported["products"] == [
        {"code": "SHOP", "description": "Sells more", "columns": ["item"], "extra": "column"}
    ]
    assert [one["context"] for one in exported["types"]] == [["userId", "item", "price"], ["item"]]


def test_a_type_may_be_of_two_products_and_differ(services):
    types = [
        {"code": "OPENED", "description": "", "product": "ONE", "context": ["a"]},
        {"code": "OPENED", "description": "", "product": "TWO", "context": ["b"]},
    ]
    put(services, {"types": types})
    assert services.catalog.export()["types"] == types


def test_entries_are_listed_by_code_whichever_database_keeps_them(services):
    codes = ["b", "B", "a-b", "aB", "Äb", "a_b", "A", "1", "é", "ab"]
    put(services, {"customers": [{"code": code} for code in codes]})
    assert [one["code"] for one in services.catalog.export()["customers"]] == sorted(codes)


def test_what_a_document_leaves_out_is_empty(services):
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
def test_an_invalid_document_names_its_fault_and_leaves_nothing(services, wrong, place):
    good = {"customers": [{"code": "FIRST"}], "products": [{"code": "FIRST"}], "types": []}
    document = wrong if not isinstance(wrong, dict) else good | wrong
    with pytest.raises(InputInvalid) as refused:
        put(services, document)
    assert refused.value.field_errors[0].message.startswith(place)
    assert services.catalog.is_empty()


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b"\xff", b'{"customers": NaN}', b"[" * 100_000])
def test_what_is_not_json_is_refused(services, body):
    with pytest.raises(BodyMalformed):
        services.catalog.put(body)
    assert services.catalog.is_empty()


@pytest.mark.parametrize("text", [b"\\u0000", b"\\ud800"])
def test_a_character_that_no_database_keeps_is_refused(services, text):
    with pytest.raises(InputInvalid):
        services.catalog.put(b'{"customers": [{"code": "A", "description": "%s"}]}' % text)


def test_awkward_words_come_back_as_they_were(services):
    document = {
        "customers": [{"code": "Ñandú & Söhne; 'quoted' \"twice\" % ? $1", "description": "שלום\n🐎\t\\"}],
        "products": [{"code": "P", "description": "", "columns": ["*", "a b", "c|d", 'e"f'], "extra": "column"}],
        "types": [],
    }
    put(services, document)
    assert services.catalog.export() == document


def test_codes_are_seen_once_and_known_with_those_of_the_catalog(nobody, services):
    nobody.send(event(type="B"), event(type="A"), event(type="A"))
    nobody.send(event(type="A"), event(product="WATCHLIST", type="A"))
    assert store.seen() == [
        ("BARCHART", "PORTFOLIO", "A"),
        ("BARCHART", "PORTFOLIO", "B"),
        ("BARCHART", "WATCHLIST", "A"),
    ]
    put(services, DOCUMENT)
    assert services.catalog.known() == (["ACME", "BARCHART"], ["PORTFOLIO", "SHOP", "WATCHLIST"])


def test_time_that_passes_while_a_page_is_made_moves_no_event_out_of_its_days(services, nobody, monkeypatch):
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
