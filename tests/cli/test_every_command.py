"""Properties of all commands: help, JSON, exit codes, and error messages of one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from app import create_app
from app.cli import COMMANDS
from app.config import Settings
from app.store import database as store
from tests.support.running import PYTHONPATH

WITHOUT_JSON = {"serve", "scheduler"}  # these run until they are stopped


def leaves(command: click.Command, *path: str) -> list[tuple[tuple[str, ...], click.Command]]:
    """Return every leaf of a group of commands, with its full name."""
    words = (*path, command.name)
    if isinstance(command, click.Group):
        return [leaf for subcommand in command.commands.values() for leaf in leaves(subcommand, *words)]
    return [(words, command)]


ALL = [leaf for command in COMMANDS for leaf in leaves(command)]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    settings = Settings(data_dir=tmp_path_factory.mktemp("help"), secret_key="a secret for the tests")
    return create_app(settings).test_cli_runner()


def test_the_commands_of_the_contract_exist():
    assert {" ".join(words) for words, _ in ALL} >= {
        "user add", "user list", "user password", "user remove", "catalog import", "catalog export",
        "events count", "reports list", "reports start", "reports wait", "reports download",
        "db upgrade", "db check", "serve", "reload", "scheduler",
    }  # fmt: skip


@pytest.mark.parametrize("words", [words for words, _ in ALL], ids=" ".join)
def test_each_command_has_a_help_text(runner, words):
    result = runner.invoke(args=[*words, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert len(result.output.splitlines()[2].strip()) > 10


@pytest.mark.parametrize(
    "words", [(command.name,) for command in COMMANDS if isinstance(command, click.Group)], ids=str
)
def test_each_group_lists_its_commands(runner, words):
    result = runner.invoke(args=[*words, "--help"])
    assert result.exit_code == 0
    assert "Commands:" in result.output


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_each_command_that_ends_supports_json(words, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) is (words[0] not in WITHOUT_JSON)


@pytest.mark.parametrize("words", [["user", "add"], ["reports", "start"], ["reports", "wait"], ["nothing"]], ids=str)
def test_a_usage_error_exits_with_two(runner, words):
    result = runner.invoke(args=words)
    assert result.exit_code == 2
    assert "Usage: " in result.output


WITHOUT_A_DATABASE = [
    ["user", "list"],
    ["backup", "backups"],
    ["verify"],
    ["events", "count"],
    ["catalog", "export"],
    ["reports", "list"],
    ["db", "check"],
]


@pytest.mark.parametrize("words", WITHOUT_A_DATABASE, ids=" ".join)
def test_an_unavailable_database_is_reported_in_a_sentence(tmp_path, words):
    app = create_app(Settings(data_dir=tmp_path, database_url="postgresql://127.0.0.1:1/tally"))
    result = app.test_cli_runner().invoke(args=words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The database cannot be reached")
    assert result.stdout == ""


@pytest.mark.parametrize("words", WITHOUT_A_DATABASE[:-1], ids=" ".join)
def test_an_unmigrated_database_is_reported_with_the_command_to_run(tmp_path, words):
    (tmp_path / "events.db").touch()
    result = create_app(Settings(data_dir=tmp_path)).test_cli_runner().invoke(args=words)
    assert result.exit_code == 1
    assert "Run tally db upgrade" in result.stderr
    assert result.stderr.count("\n") == 1
    store.release()


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], *WITHOUT_A_DATABASE], ids=" ".join)
def test_commands_that_only_read_create_no_files(tmp_path, words):
    result = create_app(Settings(data_dir=tmp_path / "var")).test_cli_runner().invoke(args=words)
    if "--help" in words:
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: There is no database at {tmp_path}/var/events.db. Make one: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["user", "list"], ["backup", "backups"], ["serve"]], ids=" ".join)
def test_a_missing_permission_is_reported_in_a_sentence(tmp_path, monkeypatch, words):
    """The tests may run as root, whom no mode of a folder keeps out."""
    folder, stat = tmp_path / "locked", Path.stat

    def look(path: Path, **kwargs: object) -> os.stat_result:
        if path.parent == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **kwargs)

    monkeypatch.setattr(Path, "stat", look)
    settings = Settings(data_dir=tmp_path / "var", database_url=f"sqlite:///{folder}/events.db", port=1025)
    result = create_app(settings).test_cli_runner().invoke(args=words)
    assert result.exit_code == 1
    sentence = f"There is no permission to use {folder}/events.db. Run the command as the user that runs Tally.\n"
    assert result.stderr.endswith(sentence)
    assert result.stderr.count("\n") == 1


def test_an_internal_error_is_not_disguised(flask, services, monkeypatch):
    monkeypatch.setattr(type(services.ingest), "count", lambda self: 1 / 0)
    result = flask("events", "count")
    assert isinstance(result.exception, ZeroDivisionError)
    assert result.exit_code != 0


def test_a_command_closes_its_connection(succeeds):
    succeeds("events", "count")
    assert store.database.is_closed()


def test_the_commands_work_in_real_processes(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "DATA_DIR": str(tmp_path)}

    def run(*args: str, **kwargs: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *args]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, **kwargs)

    assert run("db", "upgrade", "--json").stdout.startswith('{"applied":["0001_initial"')
    added = run("user", "add", "olga", "--role", "operator", "--password-stdin", input="correct horse\n")
    assert (added.returncode, added.stdout) == (0, "Added olga: operator, all customers.\n")
    again = run("user", "add", "olga", "--role", "operator", "--password-stdin", input="correct horse\n")
    assert (again.returncode, again.stderr) == (1, "Error: There is a user olga already.\n")
