"""Codes that fields offer while somebody types, and customers that are not known yet."""

from __future__ import annotations

import pytest

from tests.admin.conftest import Visitor, key
from tests.support.client import event


def offered(somebody: Visitor, kind: str, text: str = "") -> dict:
    return somebody.get("/admin/codes", query_string={"of": kind, "text": text}).get_json()


@pytest.fixture
def known(services, nobody) -> None:
    nobody.send(
        event(customer="BARCHART", product="PORTFOLIO", type="OPENED"),
        event(customer="Acme 100%", product="P_1", type="CLOSED"),
        event(customer="MEGABAR", product="PORTFOLIO", type="MOVED"),
    )
    services.scheduler.run_all()
    services.catalog.put(
        b'{"customers": [{"code": "CATALOGUED", "description": ""}], "products": [{"code": "UNUSED", "description": "",'
        b' "columns": []}], "types": [{"code": "OPENED", "product": "UNUSED", "description": "", "context": []}]}'
    )


@pytest.mark.both_databases
def test_codes_that_begin_with_the_text_come_first(boss, known):
    assert offered(boss, "customer", "bar") == {"codes": ["BARCHART", "MEGABAR"], "more": False}
    assert offered(boss, "customer")["codes"] == ["Acme 100%", "BARCHART", "CATALOGUED", "MEGABAR"]
    assert offered(boss, "product")["codes"] == ["PORTFOLIO", "P_1", "UNUSED"]
    assert offered(boss, "type", "  open ")["codes"] == ["OPENED"]


@pytest.mark.both_databases
@pytest.mark.parametrize(("text", "expected"), [("%", ["Acme 100%"]), ("_", []), ("~", []), ("'", []), ("\\", [])])
def test_signs_of_patterns_are_plain_text(boss, known, text, expected):
    assert offered(boss, "customer", text)["codes"] == expected


@pytest.mark.both_databases
def test_a_limited_user_gets_only_codes_of_their_customers(anna, known):
    assert offered(anna, "customer")["codes"] == ["BARCHART"]
    assert offered(anna, "product")["codes"] == ["PORTFOLIO"]
    assert offered(anna, "type")["codes"] == ["OPENED"]


def test_a_user_without_customers_gets_none(app, services, boss, known):
    services.accounts.add("new", "analyst", ["X"], "correct horse")
    assert offered(Visitor(app).sign_in("new"), "customer")["codes"] == []


@pytest.mark.both_databases
def test_twenty_are_offered_and_it_is_said_that_there_are_more(boss, nobody, services):
    nobody.send(*[event(customer=f"C{number:03}") for number in range(25)])
    services.scheduler.run_all()
    found = offered(boss, "customer", "c0")
    assert found == {"codes": [f"C{number:03}" for number in range(20)], "more": True}


def test_another_kind_is_refused(boss):
    answer = boss.get("/admin/codes?of=colour")
    assert answer.status_code == 400
    assert answer.get_json() == {"error": "of must be one of customer, product, type."}


def test_past_a_hundred_codes_the_choice_is_a_field_that_searches(boss, nobody, services):
    nobody.send(*[event(customer=f"C{number:03}") for number in range(101)])
    services.scheduler.run_all()
    for page in ("/admin/events", "/admin/explore", "/admin/reports/new", "/admin/reports/recurring/new"):
        field = boss.read(page).first(id="customer")
        assert (field.tag, field["data-codes"]) == ("input", "/admin/codes?of=customer"), page
        assert boss.read(page).first(id="product").tag == "select"


def test_customers_of_users_tokens_and_keys_are_searched(boss):
    for page in ("/admin/people/new", f"/admin/people/{key('admin')}", "/admin/me/tokens/new", "/admin/keys/new"):
        field = boss.read(page).first("textarea", id="customers")
        assert (field["data-codes"], field["data-add"]) == ("/admin/codes?of=customer", "Add a customer"), page


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/admin/people/new", {"name": "zoe", "role": "analyst"}),
        ("/admin/me/tokens/new", {"name": "program", "scopes": "events:read", "days": "90"}),
        ("/admin/keys/new", {"name": "research"}),
    ],
)
def test_an_unknown_customer_is_accepted_and_pointed_out(boss, known, path, fields):
    page = boss.send(path, fields | {"customers": "BARCHART\nCATALOGUED\nBARCHRAT"})
    assert page.status_code == 200
    text = page.get_data(as_text=True)
    assert "BARCHRAT is not known yet, because no event and no catalog entry has the code." in text


def test_an_unknown_customer_of_a_changed_user_is_pointed_out(boss, anna, known):
    path = f"/admin/people/{key('anna')}"
    boss.send(path, {"role": "analyst", "customers": "\n".join(f"N{number}" for number in range(7))})
    assert "N0, N1, N2, N3, N4 and 2 more are not known yet" in boss.read(path)
    boss.send(path, {"role": "analyst", "customers": "BARCHART"})
    assert "known yet" not in boss.read(path)
