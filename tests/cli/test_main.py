"""`tally`: the same commands as `flask --app wsgi`, with errors in one line and questions before a loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from app.cli import COMMANDS
from app.cli.main import tally as group
from app.version import VERSION


def test_every_command_of_flask_is_there():
    assert {command.name for command in COMMANDS} <= set(group.commands)


def test_the_nouns_and_the_processes_are_there():
    nouns = {"user", "key", "catalog", "events", "reports", "schedules", "db"}
    assert nouns | {"serve", "web", "worker", "scheduler", "bootstrap"} <= set(group.commands)


def test_it_tells_its_version(tally):
    assert tally("--version") == (0, f"tally {VERSION}\n", "")


def test_without_a_command_it_lists_the_commands(tally):
    code, _, said = tally()
    assert code == 2
    assert "Commands:" in said


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nothing"], "No such command 'nothing'. See: tally --help"),
        (["user", "add"], "Missing argument 'NAME'. See: tally user add --help"),
        (["reports", "list", "--limit", "many"], "Invalid value for '--limit': 'many' is not a valid integer range. "
         "See: tally reports list --help"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)  # fmt: skip
def test_a_wrong_call_is_one_line_and_exits_with_two(tally, words, error):
    assert tally(*words) == (2, "", f"Error: {error}\n")


def test_a_failure_is_one_line_and_exits_with_one(tally):
    code, printed, said = tally("reports", "start", "--customer", "BARCHART", "--product", "")
    assert (code, printed) == (1, "")
    assert said.startswith("Error: ")
    assert "product" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["", "1"], ids=["buffered", "unbuffered"])
def test_output_that_a_full_disk_takes_in_part_is_a_failure_in_one_line(name, tmp_path):
    """A limit on the size of files has the same effect as a full disk: the system writes a part of the text."""
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); from app.cli.main import main; main()"
    )
    with (tmp_path / "help").open("wb") as file:
        command = [sys.executable, "-B", "-c", script, "--help"]
        ended = subprocess.run(
            command, env=os.environ | {"PYTHONUNBUFFERED": name}, stdout=file, stderr=subprocess.PIPE
        )
    assert (tmp_path / "help").stat().st_size == 100
    assert (ended.returncode, ended.stderr) == (1, b"Error: Cannot write the output: File too large.\n")


def test_a_command_works_as_under_flask(tally, services):
    code, _, said = tally("user", "add", "olga", "--role", "operator", "--password-stdin", input="correct horse\n")
    assert (code, said) == (0, "")
    code, printed, error = tally("user", "list", "--json")
    assert (code, [user["name"] for user in json.loads(printed)], error) == (0, ["olga"], "")


def test_schedules_are_a_noun_of_their_own(tally):
    assert tally("schedules", "list", "--json") == (0, "[]\n", "")


def test_the_page_on_commands_names_each_of_them():
    """A row of its table begins with the noun, and the verbs are in backticks."""
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    rows = {row.split("`")[1].removeprefix("tally "): row for row in page.splitlines() if row.startswith("| `tally ")}
    for words, command in leaves(group):
        noun, verb = " ".join(words[:-1]), words[-1]
        if noun == "reports schedule":
            continue  # another name of schedules
        assert f"`{verb}`" in rows[noun] if noun else f"`tally {verb}`" in page, (words, command)


def leaves(command: click.Group, *words: str) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name, one in command.commands.items():
        found += leaves(one, *words, name) if isinstance(one, click.Group) else [((*words, name), one)]
    return found
