"""`tally token`: API tokens."""

from __future__ import annotations

import re

import pytest

from app.services.people import tokens
from tests.conftest import PASSWORD

TOKEN = re.compile(r"tly_[A-Za-z0-9]{49}")


@pytest.fixture(autouse=True)
def anna(services):
    return services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD)


def test_a_token_is_printed_only_when_it_is_added(succeeds):
    output = succeeds("token", "add", "anna", "notebook", "--scope", "events:read", "--days", "30")
    assert "Added notebook of anna: tly_" in output
    assert tokens.verify(TOKEN.search(output)[0], "").name == "anna"
    assert not TOKEN.search(succeeds("token", "list") + succeeds("token", "list", "--user", "anna", "--json"))


def test_a_token_is_printed_as_json(prints):
    scopes = ("--scope", "reports:write", "--scope", "events:read")
    made = prints("token", "add", "anna", "notebook", *scopes, "--customer", "BARCHART")
    assert tokens.verify(made.pop("token"), "").token == "notebook"
    assert (made["user"], made["scopes"], made["customers"]) == ("anna", ["events:read", "reports:write"], ["BARCHART"])
    assert made["expires"] - made["created"] == 90 * 86_400_000
    [listed] = prints("token", "list")
    assert listed["used"] > 0
    assert listed == prints("token", "show", "anna", "notebook")


def test_a_revoked_token_is_rejected_and_listed_last(succeeds, fails, prints, services):
    text = prints("token", "add", "anna", "a", "--scope", "events:read")["token"]
    succeeds("token", "add", "anna", "b", "--scope", "events:read")
    assert prints("token", "revoke", "anna", "a") == {"user": "anna", "name": "a"}
    assert tokens.verify(text, "") is None
    assert [line.split()[0] for line in succeeds("token", "list").splitlines()] == ["b", "a"]
    assert "There is no token a of anna in use." in fails("token", "revoke", "anna", "a")
    assert "revoked" in succeeds("token", "show", "anna", "a")


def test_wrong_values_are_named(fails):
    assert "There is no user olga." in fails("token", "add", "olga", "a", "--scope", "events:read")
    output = fails("token", "add", "anna", "a", "--scope", "admin:system")
    assert 'scopes has "admin:system", which the role analyst does not permit.' in output
    assert "days is 0; it must be" in fails("token", "add", "anna", "a", "--scope", "events:read", "--days", "0")
