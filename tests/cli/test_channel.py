"""`tally channel`: where messages about alerts go."""

from __future__ import annotations

import pytest

from app.services.alerts.sender import Sender
from app.services.notifications.sending import Outcome
from app.store.models import AlertChannel

URL = "jsons://user:p4ssword@hooks.example.com/s3cr3t-path"

SENT = Outcome(None, "The mail server accepted the message.", is_good=True)


@pytest.fixture(autouse=True)
def outcomes(monkeypatch) -> list[Outcome]:
    """Send nothing; the test says what comes back."""
    outcomes: list[Outcome] = []
    monkeypatch.setattr(Sender, "check", lambda self, target: None)
    monkeypatch.setattr(Sender, "send", lambda self, *args: outcomes.pop(0))
    return outcomes


def test_a_channel_for_mail_is_added_listed_changed_and_removed(succeeds, fails, prints):
    made = prints("channel", "add", "Operations", "--mail", "a@mail.example", "--mail", "b@mail.example")
    assert (made["name"], made["to"], made["active"]) == ("Operations", "a@mail.example, b@mail.example", True)
    assert prints("channel", "list") == [prints("channel", "show", "Operations")] == [made]
    assert "Operations: a@mail.example, b@mail.example, nothing sent yet" in succeeds("channel", "list")
    changed = prints("channel", "change", "Operations", "--name", "Ops", "--off")
    assert (changed["name"], changed["to"], changed["active"]) == ("Ops", made["to"], False)
    assert prints("channel", "remove", "Ops") == {"name": "Ops"}
    assert "There are no channels." in succeeds("channel", "list")
    assert 'There is no channel "Ops".' in fails("channel", "show", "Ops")


def test_a_url_is_read_from_standard_input_and_printed_nowhere(succeeds):
    output = succeeds("channel", "add", "Hook", "--url-stdin", input=f"{URL}\n")
    output += succeeds("channel", "list") + succeeds("channel", "show", "Hook", "--json")
    assert "jsons://hooks.example.com/…" in output
    assert "p4ssword" not in output
    assert "s3cr3t" not in output
    assert URL not in AlertChannel.get().url


def test_a_test_message_prints_what_came_back(succeeds, fails, outcomes):
    succeeds("channel", "add", "Operations", "--mail", "a@mail.example")
    outcomes += [Outcome(None, "a.example answered 403."), SENT]
    assert "Not sent. a.example answered 403." in fails("channel", "test", "Operations")
    assert "failing: a.example answered 403." in succeeds("channel", "list")
    assert "Sent. The mail server accepted the message." in succeeds("channel", "test", "Operations")


def test_wrong_values_are_named(fails):
    assert "addresses[0] is" in fails("channel", "add", "Operations", "--mail", "nobody")
    assert "addresses is missing" in fails("channel", "add", "Operations")
