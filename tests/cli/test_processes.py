"""What a process that runs alone says about what it misses, before it starts."""

from __future__ import annotations

import pytest

from app import create_app
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
