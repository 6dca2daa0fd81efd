"""What all commands have in common: help, JSON, exit codes, and errors in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from app import create_app
from app.cli import catalog, db, events, key, reload, reports, scheduler, serve, user
from app.config import Settings
from app.store import database as store

ROOT = Path(__file__).parents[2]
COMMANDS = (serve, reload, scheduler, db, user, key, catalog, events, reports)
WITHOUT_JSON = {"serve", "scheduler"}  # they run until they are stopped


def leaves(command: click.Command, *path: str) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command below, with its words."""
    words = (*path, command.name)
    if isinstance(command, click.Group):
        return [leaf for one in command.commands.values() for leaf in leaves(one, *words)]
    return [(words, command)]


ALL = [leaf for command in COMMANDS for leaf in leaves(command)]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    settings = Settings(data_dir=tmp_path_factory.mktemp("help"), secret_key="a secret for the tests")
    return create_app(settings).test_cli_runner()


def test_the_contract_s_commands_are_there():
    assert {" ".join(words) for words, _ in ALL} >= {
        "user add", "user list", "user password", "user remove", "catalog import", "catalog export",
        "events count", "reports list", "reports start", "reports wait", "reports download",
        "db upgrade", "db check", "serve", "reload", "scheduler",
    }  # fmt: skip


@pytest.mark.parametrize("words", [words for words, _ in ALL], ids=" ".join)
def test_each_command_explains_itself(runner, words):
    result = runner.invoke(args=[*words, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert len(result.output.splitlines()[2].strip()) > 10


@pytest.mark.parametrize(
    "words", [(command.name,) for command in COMMANDS if isinstance(command, click.Group)], ids=str
)
def test_each_noun_lists_its_verbs(runner, words):
    result = runner.invoke(args=[*words, "--help"])
    assert result.exit_code == 0
    assert "Commands:" in result.output


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_each_command_that_ends_prints_json(words, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) is (words[0] not in WITHOUT_JSON)


@pytest.mark.parametrize("words", [["user", "add"], ["reports", "start"], ["reports", "wait"], ["nothing"]], ids=str)
def test_a_wrong_call_exits_with_two(runner, words):
    result = runner.invoke(args=words)
    assert result.exit_code == 2
    assert "Usage: " in result.output


WITHOUT_A_DATABASE = [
    ["user", "list"],
    ["events", "count"],
    ["catalog", "export"],
    ["reports", "list"],
    ["db", "check"],
]


@pytest.mark.parametrize("words", WITHOUT_A_DATABASE, ids=" ".join)
def test_a_database_that_is_away_is_told_in_a_sentence(tmp_path, words):
    app = create_app(Settings(data_dir=tmp_path, database_url="postgresql://127.0.0.1:1/tally"))
    result = app.test_cli_runner().invoke(args=words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The database cannot be reached")
    assert result.stdout == ""


@pytest.mark.parametrize("words", WITHOUT_A_DATABASE[:-1], ids=" ".join)
def test_a_database_that_nobody_migrated_is_told_with_what_to_do(tmp_path, words):
    (tmp_path / "events.db").touch()
    result = create_app(Settings(data_dir=tmp_path)).test_cli_runner().invoke(args=words)
    assert result.exit_code == 1
    assert "Run flask --app wsgi db upgrade" in result.stderr
    assert result.stderr.count("\n") == 1
    store.release()


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], *WITHOUT_A_DATABASE], ids=" ".join)
def test_a_command_that_only_reads_makes_nothing_where_nothing_is(tmp_path, words):
    result = create_app(Settings(data_dir=tmp_path / "var")).test_cli_runner().invoke(args=words)
    if "--help" in words:
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: There is no database at {tmp_path}/var/events.db. Make one: ")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_ours_is_not_called_anything_else(flask, services, monkeypatch):
    monkeypatch.setattr(type(services.ingest), "count", lambda self: 1 / 0)
    result = flask("events", "count")
    assert isinstance(result.exception, ZeroDivisionError)
    assert result.exit_code != 0


def test_a_command_gives_its_connection_back(succeeds):
    succeeds("events", "count")
    assert store.database.is_closed()


def test_the_commands_are_there_where_people_look_for_them(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path)}

    def run(*args: str, **kwargs: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *args]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, **kwargs)

    assert run("db", "check", "--json").returncode == 1
    assert run("db", "upgrade", "--json").stdout.startswith('{"applied":["0001_initial"')
    added = run("user", "add", "olga", "--role", "operator", "--password-stdin", input="correct horse\n")
    assert (added.returncode, added.stdout) == (0, "Added olga: operator, all customers.\n")
    again = run("user", "add", "olga", "--role", "operator", "--password-stdin", input="correct horse\n")
    assert (again.returncode, again.stderr) == (1, "Error: There is a user olga already.\n")
