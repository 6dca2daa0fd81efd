"""`flask key`: ingest keys from the command line."""

from __future__ import annotations

import re

import pytest

TOKEN = re.compile(r"tally_[A-Za-z0-9_-]{43}")


def test_a_key_is_shown_once_when_it_is_added(succeeds, prints, services):
    token = TOKEN.search(succeeds("key", "add", "web"))[0]
    assert services.ingest_keys.verify(token).name == "web"
    services.ingest_keys.flush()
    assert token not in succeeds("key", "list") + succeeds("key", "list", "--json")


def test_whoever_adds_a_key_learns_what_it_may_send(succeeds, prints):
    assert "Added web: for all customers and all products." in succeeds("key", "add", "web")
    said = succeeds("key", "add", "bound", "--customer", "BARCHART", "--customer", "FERNHILL", "--product", "PORTFOLIO")
    assert "for the customers BARCHART, FERNHILL and the products PORTFOLIO." in said


def test_whoever_adds_a_key_is_told_that_none_is_asked_for(succeeds, prints):
    assert "INGEST_AUTH" in succeeds("key", "add", "web")


@pytest.mark.settings(ingest_auth="key")
def test_nothing_is_told_of_the_setting_where_it_is_on(succeeds, prints):
    assert "INGEST_AUTH" not in succeeds("key", "add", "web")


def test_a_key_is_printed_as_json(succeeds, prints, services):
    added = prints("key", "add", "web", "--customer", "BARCHART")
    assert added["name"] == "web"
    assert added["customers"] == ["BARCHART"]
    assert added["products"] is None
    assert services.ingest_keys.verify(added["key"]).customers == ("BARCHART",)
    services.ingest_keys.flush()


def test_keys_are_listed_those_in_use_first(succeeds, prints):
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


def test_a_revoked_key_is_refused(succeeds, prints, services):
    token = prints("key", "add", "web")["key"]
    assert prints("key", "revoke", "web") == {"name": "web"}
    assert services.ingest_keys.verify(token) is None


def test_a_name_in_use_is_not_given_twice(succeeds, fails):
    succeeds("key", "add", "web")
    assert 'name is "web", and a key of that name is in use.' in fails("key", "add", "web")
    succeeds("key", "revoke", "web")
    succeeds("key", "add", "web")


@pytest.mark.parametrize("args", [[""], ["a" * 129], ["two\nlines"], ["web", "--customer", ""]])
def test_what_will_not_do_is_refused_in_words(fails, services, args):
    assert "1 to 128 characters without control characters" in fails("key", "add", *args)
    assert services.ingest_keys.all() == []


def test_a_key_that_there_is_not_cannot_be_revoked(succeeds, fails):
    assert "There is no key web in use." in fails("key", "revoke", "web")
    succeeds("key", "add", "web")
    succeeds("key", "revoke", "web")
    assert "There is no key web in use." in fails("key", "revoke", "web")
