"""`flask key`: ingest keys from the command line."""

from __future__ import annotations

import json
import re

import pytest

TOKEN = re.compile(r"tally_[A-Za-z0-9_-]{43}")


@pytest.fixture
def run(app):
    """Run a command that will succeed; what it prints."""
    runner = app.test_cli_runner()

    def run(*args: str) -> str:
        result = runner.invoke(args=["key", *args])
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def fail(app):
    """Run a command that will fail; what it says."""
    runner = app.test_cli_runner()

    def fail(*args: str) -> str:
        result = runner.invoke(args=["key", *args])
        assert result.exit_code == 1, result.output
        return result.stderr

    return fail


def test_a_key_is_shown_once_when_it_is_added(run, services):
    token = TOKEN.search(run("add", "web"))[0]
    assert services.ingest_keys.verify(token).name == "web"
    services.ingest_keys.flush()
    assert token not in run("list") + run("list", "--json")


def test_whoever_adds_a_key_learns_what_it_may_send(run):
    assert "Added web: for all customers and all products." in run("add", "web")
    said = run("add", "bound", "--customer", "BARCHART", "--customer", "FERNHILL", "--product", "PORTFOLIO")
    assert "for the customers BARCHART, FERNHILL and the products PORTFOLIO." in said


def test_whoever_adds_a_key_is_told_that_none_is_asked_for(run):
    assert "INGEST_AUTH" in run("add", "web")


@pytest.mark.settings(ingest_auth="key")
def test_nothing_is_told_of_the_setting_where_it_is_on(run):
    assert "INGEST_AUTH" not in run("add", "web")


def test_a_key_is_printed_as_json(run, services):
    added = json.loads(run("add", "web", "--customer", "BARCHART", "--json"))
    assert added["name"] == "web"
    assert added["customers"] == ["BARCHART"]
    assert added["products"] is None
    assert services.ingest_keys.verify(added["key"]).customers == ("BARCHART",)
    services.ingest_keys.flush()


def test_keys_are_listed_those_in_use_first(run):
    assert run("list") == "There are no keys.\n"
    assert json.loads(run("list", "--json")) == []
    for name in ("web", "mobile", "old"):
        run("add", name)
    run("revoke", "old")
    lines = run("list").splitlines()
    assert [line.split(":")[0] for line in lines] == ["mobile", "web", "old"]
    assert "never used" in lines[0]
    assert "revoked" in lines[2]
    assert [key["revoked"] is None for key in json.loads(run("list", "--json"))] == [True, True, False]


def test_the_last_use_is_listed(run, services):
    token = json.loads(run("add", "web", "--json"))["key"]
    services.ingest_keys.verify(token)
    services.ingest_keys.flush()
    assert re.search(r"last used \d{4}-\d\d-\d\d \d\d:\d\d UTC", run("list"))
    assert json.loads(run("list", "--json"))[0]["used"] > 0


def test_a_revoked_key_is_refused(run, services):
    token = json.loads(run("add", "web", "--json"))["key"]
    assert json.loads(run("revoke", "web", "--json")) == {"name": "web"}
    assert services.ingest_keys.verify(token) is None


def test_a_name_in_use_is_not_given_twice(run, fail):
    run("add", "web")
    assert 'name is "web", and a key of that name is in use.' in fail("add", "web")
    run("revoke", "web")
    run("add", "web")


@pytest.mark.parametrize("args", [[""], ["a" * 129], ["two\nlines"], ["web", "--customer", ""]])
def test_what_will_not_do_is_refused_in_words(fail, services, args):
    assert "1 to 128 characters without control characters" in fail("add", *args)
    assert services.ingest_keys.all() == []


def test_a_key_that_there_is_not_cannot_be_revoked(run, fail):
    assert "There is no key web in use." in fail("revoke", "web")
    run("add", "web")
    run("revoke", "web")
    assert "There is no key web in use." in fail("revoke", "web")


@pytest.mark.parametrize("args", [[], ["add"], ["list"], ["revoke"]], ids=str)
def test_every_command_has_help(run, args):
    assert "Usage: " in run(*args, "--help")
