"""`flask key`: ingest keys."""

from __future__ import annotations

import re

import pytest

TOKEN = re.compile(r"tally_[A-Za-z0-9_-]{43}")


def test_a_key_is_printed_only_when_it_is_added(succeeds, prints, services):
    token = TOKEN.search(succeeds("key", "add", "web"))[0]
    assert services.ingest_keys.verify(token).name == "web"
    services.ingest_keys.flush()
    assert token not in succeeds("key", "list") + succeeds("key", "list", "--json")


def test_adding_a_key_prints_what_it_may_send(succeeds, prints):
    assert "Added web: for all customers and all products." in succeeds("key", "add", "web")
    output = succeeds(
        "key", "add", "bound", "--customer", "BARCHART", "--customer", "FERNHILL", "--product", "PORTFOLIO"
    )
    assert "for the customers BARCHART, FERNHILL and the products PORTFOLIO." in output


def test_adding_a_key_explains_that_keys_are_not_required(succeeds, prints):
    assert "INGEST_AUTH" in succeeds("key", "add", "web")


@pytest.mark.settings(ingest_auth="key")
def test_the_explanation_is_omitted_if_keys_are_required(succeeds, prints):
    assert "INGEST_AUTH" not in succeeds("key", "add", "web")


def test_a_key_is_printed_as_json(succeeds, prints, services):
    added = prints("key", "add", "web", "--customer", "BARCHART")
    assert added["name"] == "web"
    assert added["customers"] == ["BARCHART"]
    assert added["products"] is None
    assert services.ingest_keys.verify(added["key"]).customers == ("BARCHART",)
    services.ingest_keys.flush()


def test_active_keys_are_listed_first(succeeds, prints):
    assert succeeds("key", "list") == "There are no keys.\n"
    assert prints("key", "list") == []
    for name in ("web", "mobile", "old"):
        succeeds("key", "add", name)
    succeeds("key", "revoke", "old")
    lines = succeeds("key", "list").splitlines()
    assert [line.split(":")[0] for line in lines] == ["mobile", "web", "old"]
    assert "never used" in lines[0]
    assert "revoked" in lines[2]
    assert [key["revoked"] is None for key in prints("key", "list")] == [True, True, False]


def test_the_last_use_is_listed(succeeds, prints, services):
    token = prints("key", "add", "web")["key"]
    services.ingest_keys.verify(token)
    services.ingest_keys.flush()
    assert re.search(r"last used \d{4}-\d\d-\d\d \d\d:\d\d UTC", succeeds("key", "list"))
    assert prints("key", "list")[0]["used"] > 0


def test_a_revoked_key_is_rejected(succeeds, prints, services):
    token = prints("key", "add", "web")["key"]
    assert prints("key", "revoke", "web") == {"name": "web"}
    assert services.ingest_keys.verify(token) is None


def test_the_name_of_an_active_key_cannot_be_reused(succeeds, fails):
    succeeds("key", "add", "web")
    assert 'name is "web", and a key of that name is in use.' in fails("key", "add", "web")
    succeeds("key", "revoke", "web")
    succeeds("key", "add", "web")


@pytest.mark.parametrize("args", [[""], ["a" * 129], ["two\nlines"], ["web", "--customer", ""]])
def test_an_invalid_name_or_code_is_rejected_with_the_rule(fails, services, args):
    assert "1 to 128 characters without control characters" in fails("key", "add", *args)
    assert services.ingest_keys.all() == []


def test_an_unknown_or_revoked_key_cannot_be_revoked(succeeds, fails):
    assert "There is no key web in use." in fails("key", "revoke", "web")
    succeeds("key", "add", "web")
    succeeds("key", "revoke", "web")
    assert "There is no key web in use." in fails("key", "revoke", "web")
