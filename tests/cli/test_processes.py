"""What a process that runs alone says about what it misses, before it starts."""

from __future__ import annotations

import click
import pytest

from app import create_app
from app.cli import processes
from app.config import Settings
from app.ops import standalone

PROGRAMS = ("web", "worker")


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """The programs that were started; none is really started."""
    started: list[str] = []
    monkeypatch.setattr(standalone, "execute", lambda settings, program: started.append(program))
    return started


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.settings(port=0)
def test_a_process_starts_where_nothing_is_missing(tally, started, program, database_url):
    code, _, said = tally(program)
    assert (code, started) == (0, [program])
    shared = database_url.startswith("postgresql")
    assert ("STORAGE_URL is not set, so report files are in " in said) is shared


@pytest.mark.parametrize("program", (*PROGRAMS, "scheduler"))
@pytest.mark.settings(redis_url="")
def test_a_process_without_redis_names_the_setting_that_is_missing(tally, started, program, settings):
    code, _, said = tally(program)
    assert (code, started) == (1, [])
    folder = settings.data_dir.absolute()
    assert said.startswith(f"Error: REDIS_URL is not set, and no private Valkey runs with DATA_DIR {folder}. Set ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("program", (*PROGRAMS, "scheduler"))
def test_a_database_that_was_never_migrated_is_named_with_what_to_run(tally, started, program, services, monkeypatch):
    monkeypatch.setattr("app.cli.processes.database.pending", lambda: ["0002_more", "0003_even_more"])
    code, _, said = tally(program)
    assert (code, started) == (1, [])
    assert said == "Error: The database needs migrating (0002_more). Run: tally bootstrap\n"


# Servers on another machine, which are away: what follows from the settings is said nevertheless.
SHARED = {
    "database_url": "postgresql://127.0.0.2:1/tally",
    "redis_url": "redis://127.0.0.2:1",
    "storage_url": "s3://tally",
    "s3_endpoint_url": "http://127.0.0.2:1",
    "secret_key": "a secret for the tests",
    "public_url": "https://tally.example",
    "port": 0,
}
SUITS_ONE = {
    "STORAGE_URL is not set, so report files are in {folder}/reports. Processes on other ": {"storage_url": ""},
    "STORAGE_URL is a folder, so report files are in /srv/files. Process": {"storage_url": "file:///srv/files"},
    "SECRET_KEY is not set, so links and sessions are signed with the key in {folder}. ": {"secret_key": ""},
    "PUBLIC_URL is not set, so links begin with http://127.0.0.1:0, the web server of this machine ": {
        "public_url": ""
    },
    "REDIS_URL leads to this machine, but DATABASE_URL to 127.0.0.2. ": {"redis_url": "redis://localhost:1"},
    "The database is the SQLite file {folder}/events.db, which only processes on ": {
        "database_url": "sqlite:///events.db"
    },
}


@pytest.fixture
def said_by(tmp_path, monkeypatch, started, sqlite_url, tally):
    """Return what a process says at its start with settings for several machines, of which some are changed."""

    def say(program: str, **changes: str) -> str:
        given = SHARED | {name: sqlite_url if "sqlite" in value else value for name, value in changes.items()}
        application = create_app(Settings(data_dir=tmp_path, **given))
        monkeypatch.setattr("app.cli.main.load_application", lambda: application)
        monkeypatch.setattr(processes, "run_scheduler", click.Command("scheduler", callback=lambda once: None))
        code, _, said = tally(program)
        assert code == 0, said
        return said

    return say


@pytest.mark.parametrize("sentence", SUITS_ONE)
def test_a_setting_that_suits_one_machine_only_is_named_where_others_may_take_part(said_by, tmp_path, sentence):
    said = said_by("worker", **SUITS_ONE[sentence])
    assert [line for line in said.splitlines() if line.startswith(sentence.format(folder=tmp_path))]


@pytest.mark.parametrize("program", (*PROGRAMS, "scheduler"))
def test_settings_for_several_machines_need_no_comment(said_by, program):
    said = said_by(program)
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "database",
        "redis",
        "storage",
        *["Tally is at https"] * (program == "web"),
    ]


@pytest.mark.settings(secret_key="", redis_url="redis://127.0.0.1:1")
def test_what_is_away_for_a_while_is_named_and_waited_for(tally, started, database_url):
    code, _, said = tally("worker")
    assert (code, started) == (0, ["worker"])
    assert "redis: Redis cannot be reached" in said
    assert ("SECRET_KEY is not set, so links and sessions are signed with the key in " in said) is (
        database_url.startswith("postgresql")
    )


def test_a_postgresql_that_is_away_is_waited_for(tally, started, monkeypatch, tmp_path, redis_url):
    away = Settings(data_dir=tmp_path, database_url="postgresql://127.0.0.1:1/tally", redis_url=redis_url)
    application = create_app(away)
    monkeypatch.setattr("app.cli.main.load_application", lambda: application)
    code, _, said = tally("worker")
    assert (code, started) == (0, ["worker"])
    assert "database: The database cannot be reached" in said


def test_a_sqlite_database_that_is_not_there_prevents_the_start(tally, started, monkeypatch, tmp_path, redis_url):
    application = create_app(Settings(data_dir=tmp_path / "none", redis_url=redis_url))
    monkeypatch.setattr("app.cli.main.load_application", lambda: application)
    code, _, said = tally("worker")
    assert (code, started) == (1, [])
    assert said.startswith(f"Error: There is no database at {tmp_path}/none/events.db.")
