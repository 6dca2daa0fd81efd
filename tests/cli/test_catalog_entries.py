"""`tally catalog`: single entries are listed, shown, added, changed, removed and adopted."""

from __future__ import annotations

import pytest

from tests.support.client import event


def test_an_entry_is_added_shown_changed_and_removed(prints, succeeds, fails):
    added = prints("catalog", "add", "product", "SHOP", "--description", "The shop", "--column", "userId")
    assert (added["kind"], added["code"], added["columns"]) == ("product", "SHOP", ["userId"])
    prints("catalog", "add", "type", "OPENED", "--product", "SHOP", "--context", "userId", "--context", "view")
    assert prints("catalog", "show", "type", "OPENED", "--product", "SHOP")["context"] == ["userId", "view"]
    changed = prints("catalog", "change", "product", "SHOP", "--extra", "drop")
    assert (changed["extra"], changed["description"], changed["columns"]) == ("drop", "The shop", ["userId"])
    assert succeeds("catalog", "remove", "product", "SHOP", "--with-types", "--yes") == "Removed the product SHOP.\n"
    assert fails("catalog", "show", "product", "SHOP") == "Error: The catalog has no product SHOP.\n"
    assert prints("catalog", "list") == []


def test_entries_are_listed_by_kind_and_text(prints, succeeds, sample_catalog):
    kinds = [one["kind"] for one in prints("catalog", "list", "--kind", "customers")]
    assert set(kinds) == {"customer"}
    found = prints("catalog", "list", "--find", "portfolio")
    assert found
    assert all("PORTFOLIO" in str(one).upper() for one in found)
    assert succeeds("catalog", "list", "--find", "nothing like it") == "There are no such entries.\n"


def test_codes_that_were_seen_are_listed_and_adopted(prints, nobody, services):
    nobody.send(event(customer="NEW", product="SHOP", type="OPENED"))
    services.scheduler.run_all()
    missing = prints("catalog", "list", "--missing")
    assert [(one["kind"], one["code"]) for one in missing] == [
        ("customer", "NEW"), ("product", "SHOP"), ("type", "OPENED"),
    ]  # fmt: skip
    assert [one["code"] for one in prints("catalog", "adopt")] == ["NEW", "SHOP", "OPENED"]
    assert prints("catalog", "list", "--missing") == []


def test_the_question_before_a_removal_names_what_is_lost(tally, prints):
    prints("catalog", "add", "product", "SHOP", "--column", "userId")
    prints("catalog", "add", "type", "OPENED", "--product", "SHOP", "--context", "userId")
    code, _, said = tally("catalog", "remove", "type", "OPENED", "--product", "SHOP", input="n\n")
    assert code == 1
    assert "SHOP no longer fills userId. Remove the type OPENED of SHOP? [y/N]" in said
    assert prints("catalog", "show", "type", "OPENED", "--product", "SHOP")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("add", "type", "OPENED"), "A type needs --product."),
        (("add", "customer", "ACME", "--product", "SHOP"), "--product is for a type."),
        (("add", "customer", "ACME", "--column", "userId"), "--column is not for a customer."),
        (("add", "product", "SHOP", "--context", "userId"), "--context is not for a product."),
        (("remove", "customer", "ACME", "--with-types"), "--with-types is for a product."),
    ],
)
def test_a_value_that_does_not_belong_to_the_kind_is_a_wrong_call(tally, words, error):
    code, _, said = tally("catalog", *words)
    assert code == 2
    assert said.startswith(f"Error: {error} See: tally catalog {words[0]} --help")
