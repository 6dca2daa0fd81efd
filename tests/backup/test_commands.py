"""The commands backup, restore, verify and move."""

from __future__ import annotations

import fcntl
import json

import pytest

from app.ops.preflight import hold
from app.store import database as store
from tests.backup.conftest import installation


@pytest.fixture
def database_url(sqlite_url) -> str:
    """SQLite: the commands are the same."""
    return sqlite_url


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "backups")


def test_backup_and_verify_tell_what_they_did(content, prints, succeeds, place):
    made = prints("backup", place)
    assert made["backup"].startswith(f"{place}/tally-")
    assert prints("backup", place, "--list") == [{key: made[key] for key in ("backup", "created", "events", "bytes")}]
    found = prints("verify", made["backup"])
    assert (found["events"], found["hash"], found["problems"]) == (made["events"], made["hash"], [])
    assert found["hash"] == prints("verify")["hash"]
    assert sum(day["events"] for day in found["days"]) == found["events"]
    again = prints("backup", place, "--keep", "1")
    assert again["removed"] == [made["backup"].rpartition("/")[2]]
    words = succeeds("verify", "--days")
    assert words.endswith("No problems.\n")
    assert "BARCHART  PORTFOLIO  2026-10-26" in words


@pytest.mark.settings(backup_url="/nowhere/at/all")
def test_without_a_place_it_is_that_of_the_settings(succeeds):
    assert "There is no backup in /nowhere/at/all." in succeeds("backup", "--list")


def test_without_any_place_it_says_so(fails):
    assert "Name a folder or s3://bucket/prefix, or set BACKUP_URL." in fails("backup")


def test_verify_exits_with_1_and_names_each_damaged_file(content, prints, flask, place, tmp_path):
    backup = prints("backup", place)["backup"]
    with open(f"{backup}/secret.key.zst", "ab") as file:
        file.write(b"x")
    result = flask("verify", backup)
    assert result.exit_code == 1
    assert "1 problem:\n  secret.key.zst: it has" in result.stdout


def test_restore_tells_what_it_did(content, prints, place, tmp_path, redis_url, other_database):
    backup = prints("backup", place)["backup"]
    with installation(tmp_path / "new", other_database("sqlite"), redis_url) as (app, _):
        result = app.test_cli_runner().invoke(args=["restore", place, "--json"])
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert told["backup"] == backup
        assert told["events"] == 67
        assert app.test_cli_runner().invoke(args=["user", "list"]).exit_code == 0
        refused = app.test_cli_runner().invoke(args=["restore", place])
        assert refused.exit_code == 1
        assert "--replace" in refused.stderr
        declined = app.test_cli_runner().invoke(args=["restore", place, "--replace"], input="n\n")
        assert declined.exit_code == 1
        assert "Replace all data of this installation?" in declined.stderr
        assert app.test_cli_runner().invoke(args=["restore", place, "--replace", "--yes"]).exit_code == 0


def test_others_cannot_read_what_was_restored(content, prints, place, tmp_path, redis_url):
    prints("backup", place)
    folder = tmp_path / "new"
    with installation(folder, f"sqlite:///{folder / 'events.db'}", redis_url) as (app, _):
        assert app.test_cli_runner().invoke(args=["restore", place]).exit_code == 0
    modes = {path.name: oct(path.stat().st_mode & 0o007) for path in (folder, *folder.iterdir())}
    assert set(modes.values()) == {"0o0"}, modes
    assert {"events.db", "settings.restored.env"} <= set(modes)


def test_restore_is_refused_while_tally_runs(content, prints, fails, place, settings):
    prints("backup", place)
    lock = hold(settings)
    assert "Tally already runs with DATA_DIR" in fails("restore", place, "--replace", "--yes")
    fcntl.flock(lock, fcntl.LOCK_UN)


def test_move_asks_first_and_tells_what_to_do_next(content, flask, prints, settings, other_database):
    target = other_database("postgresql")
    declined = flask("move", "--to", target, input="n\n")
    assert declined.exit_code == 1
    assert "SPOOL is off, so events are answered 503" in declined.stderr
    told = prints("move", "--to", target, "--yes")
    assert told["events"] == 67
    assert told["resumed"] == 0
    assert prints("move", "--cancel") == {"cancelled": True}
    store.release()


@pytest.mark.parametrize("arguments", [(), ("--to", "postgresql://host/name", "--cancel")])
def test_move_needs_a_target_or_cancel(flask, arguments):
    result = flask("move", *arguments)
    assert result.exit_code == 2
    assert "Use either --to URL or --cancel." in result.stderr
