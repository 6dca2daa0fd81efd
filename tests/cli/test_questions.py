"""What destroys asks under `tally`; `--yes` skips the question, and scripts that call `flask` are never asked."""

from __future__ import annotations

import pytest

from tests.support.client import event

OURS = ("--customer", "BARCHART", "--product", "PORTFOLIO")


@pytest.fixture
def losses(nobody, services, prints) -> list[tuple[str, ...]]:
    """The commands that destroy something."""
    nobody.send(event())
    services.accounts.add("olga", "operator", None, "correct horse")
    services.ingest_keys.add("web", (), ())
    nobody.post("/events", [event(timestamp=-1)])
    services.rejected.flush()
    source = prints("reports", "start", *OURS)["source"]
    prints("reports", "schedule", "add", "Daily", *OURS, "--every", "daily")
    prints("catalog", "add", "customer", "ACME")
    [rejected] = prints("events", "rejected", "list")
    return [
        ("user", "remove", "olga"),
        ("key", "revoke", "web"),
        ("events", "rejected", "remove", str(rejected["id"])),
        ("reports", "delete", source),
        ("schedules", "remove", "1"),
        ("catalog", "remove", "customer", "ACME"),
    ]


def test_without_an_answer_or_with_no_nothing_is_destroyed_and_with_yes_it_is(losses, tally):
    for words in losses:
        code, printed, said = tally(*words)
        assert (code, printed) == (1, "")
        error = "Error: Nothing was changed, because nobody answered. Add --yes to skip the question."
        assert said.splitlines()[-1] == error
        code, printed, said = tally(*words, input="n\n")
        assert (code, printed) == (1, "")
        assert said.endswith("Error: Nothing was changed.\n")
        assert tally(*words, "--yes")[::2] == (0, "")
    for words in losses:
        if words[0] != "reports":  # which may be deleted again
            assert tally(*words, "--yes")[0] == 1, words


def test_an_answer_of_yes_destroys(tally, services):
    services.accounts.add("olga", "operator", None, "correct horse")
    code, printed, said = tally("user", "remove", "olga", input="y\n")
    assert (code, printed) == (0, "Removed olga.\n")
    assert said.startswith("Remove the user olga? [y/N]")


def test_flask_asks_nothing(losses, succeeds):
    for noun, *words in losses:
        succeeds(*(("reports", "schedule") if noun == "schedules" else (noun,)), *words)


def test_erasing_counts_first_and_asks_on_a_terminal_only(nobody, tally):
    nobody.send(event(), event())
    erase = ("events", "erase", "--customer", "BARCHART", "--json")
    code, printed, said = tally(*erase, terminal=True, input="n\n")
    assert (code, printed) == (1, "")
    assert said.startswith("2 events would be erased.")
    assert tally("events", "count")[1] == "2\n"
    assert '"erased":null' in tally(*erase)[1]
    assert '"erased":2' in tally(*erase, terminal=True, input="y\n")[1]
    assert tally("events", "count")[1] == "0\n"


@pytest.mark.settings(webhook_hosts=("hooks.example.com",))
def test_a_new_secret_of_a_webhook_asks(nobody, tally, prints):
    nobody.send(event())
    webhook = ("--webhook", "https://hooks.example.com/x")
    old = prints("reports", "schedule", "add", "Daily", *OURS, "--every", "daily", *webhook)["secret"]
    assert "The old one stops signing. [y/N]" in tally("schedules", "secret", "1", input="n\n")[2]
    assert old not in tally("schedules", "secret", "1", "--yes")[1]
