"""A command upgrades the database to the schema of this version, once, and never back."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from peewee import BigIntegerField
from playhouse.migrations import Migration

from app import create_app
from app.config import Settings
from app.exceptions import DatabaseNewer, ReloadFailed
from app.store import database as store
from app.store.models import ReceivedRange, Table

ALL = sorted(path.stem for path in store.MIGRATIONS.glob("[0-9]*.py"))
# the large integers that are no times, and the times whose names clients know
NUMBERS = {
    *("account", "channel", "delivery", "owner", "recipient", "rule", "schedule", "webhook"),
    *("last_snapshot_max_id", "snapshot_max_id", "snapshot_min_id", "slice_end", "slice_groups", "up_to"),
    *("bytes", "erased", "estimated_rows", "events", "extra_rows", "line", "max_id", "number", "offset", "rejected"),
    *("daily_customer_erased", "daily_customer_total", "resumed_rows", "rows", "span", "total", "totp_step", "width"),
    *(f"hour_{number}" for number in range(24)),
}
# columns that only processes of an earlier version use, which may run during an upgrade
KEPT = {("schedule", "webhook"), ("schedule", "webhook_set_at"), ("schedule", "webhook_salt")}
KNOWN_TIMES = {"timestamp", "received", "start", "end", "day", "hour"}
FUTURE = "9999_of_a_newer_version"
BROKEN = """
def up(migrator, db):
    db.execute_sql('CREATE TABLE half (id INTEGER)')
    raise RuntimeError
"""


def upgrade_beyond_this_version() -> None:
    store.upgrade()
    store.database.execute_sql(
        f"INSERT INTO schema_migration (name, applied) VALUES ('{FUTURE}', '2036-01-01 00:00:00')"
    )
    store.release()


def copy_migrations(folder: Path, last: str) -> None:
    for path in store.MIGRATIONS.glob("[0-9]*.py"):
        if path.stem <= last:
            shutil.copy(path, folder)


def upgrade_in_a_process(url: str, together, applied) -> None:
    store.open_database(url)
    together.wait()
    applied.put(store.upgrade())
    store.release()


def test_an_empty_database_is_upgraded_once(empty_database):
    assert store.pending() == ALL
    assert store.upgrade() == ALL
    assert store.pending() == []
    assert store.upgrade() == []


def test_concurrent_upgrades_apply_each_migration_once(empty_database_url):
    context = multiprocessing.get_context("fork")
    together, applied = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=upgrade_in_a_process, args=(empty_database_url, together, applied)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(applied.get() for _ in processes) == [[], [], ALL]


def test_a_failed_migration_is_rolled_back(empty_database, tmp_path, monkeypatch):
    copy_migrations(tmp_path, ALL[-1])
    (tmp_path / f"{FUTURE}.py").write_text(BROKEN)
    monkeypatch.setattr(store, "MIGRATIONS", tmp_path)
    with pytest.raises(RuntimeError):
        store.upgrade()
    assert not store.database.table_exists("half")
    assert FUTURE in store.pending()


def test_the_models_match_the_migrated_schema(empty_database):
    store.upgrade()
    models = {model._meta.table_name: model._meta for model in Table.__subclasses__()}
    sqlite_tables = {table for table in store.database.get_tables() if table.startswith("sqlite_")}
    assert set(store.database.get_tables()) == {*models, "schema_migration"} | sqlite_tables
    for table, meta in models.items():
        keys = {field.name for field in meta.get_primary_keys()}
        fields = {field.column_name: (field.null, field.name in keys) for field in meta.sorted_fields}
        columns = store.database.get_columns(table)
        actual = {column.name: (column.null and not column.primary_key, column.primary_key) for column in columns}
        kept = {column: (True, False) for known, column in KEPT if known == table}
        assert actual == fields | kept, table
        unique = {tuple(index.columns) for index in store.database.get_indexes(table) if index.unique}
        assert {(field.column_name,) for field in meta.sorted_fields if field.unique} <= unique, table


def test_the_name_of_a_column_with_a_time_ends_in_at():
    fields = [field for model in Table.__subclasses__() for field in model._meta.sorted_fields]
    large = {field.column_name for field in fields if isinstance(field, BigIntegerField)}
    assert {name for name in large if not name.endswith("_at")} == NUMBERS | KNOWN_TIMES


def test_a_database_of_a_newer_version_is_not_upgraded(empty_database):
    upgrade_beyond_this_version()
    with pytest.raises(DatabaseNewer, match=f"{FUTURE}.*{ALL[-1]}"):
        store.upgrade()


@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "check"], ["serve"]], ids=" ".join)
def test_commands_reject_a_database_of_a_newer_version(
    empty_database_url, empty_database, tmp_path: Path, redis_url, command
):
    upgrade_beyond_this_version()
    settings = Settings(data_dir=tmp_path / "var", database_url=empty_database_url, redis_url=redis_url, port=1025)
    result = create_app(settings).test_cli_runner().invoke(args=command)
    assert result.exit_code == 1
    assert "The database is newer than this version of Tally" in result.output
    assert FUTURE in result.output
    assert store.pending() == []


def test_the_check_lists_the_migrations_for_an_empty_database(empty_database_url, empty_database, tmp_path: Path):
    runner = create_app(Settings(data_dir=tmp_path, database_url=empty_database_url)).test_cli_runner()
    before = runner.invoke(args=["db", "check"])
    assert (before.exit_code, before.output) == (1, f"The database needs: {', '.join(ALL)}.\n")
    assert runner.invoke(args=["db", "upgrade"]).output == f"Applied {', '.join(ALL)}.\n"
    after = runner.invoke(args=["db", "check"])
    assert (after.exit_code, after.output) == (0, "The database is up to date.\n")


def test_a_migration_incompatible_with_older_code_prevents_a_reload(empty_database, monkeypatch):
    store.refuse_beside_older_code()
    monkeypatch.setattr(Migration, "load", lambda migration: SimpleNamespace(needs_stop=migration.name == ALL[-1]))
    with pytest.raises(ReloadFailed, match=f"The migration {ALL[-1]} cannot be applied while older code runs."):
        store.refuse_beside_older_code()
    assert store.pending() == list(ALL)


@pytest.mark.parametrize(("events", "recorded"), [(9_999, []), (10_000, [0]), (29_999, [1])])
def test_the_times_of_receipt_begin_after_the_events_that_exist(
    empty_database, tmp_path, monkeypatch, events, recorded
):
    """Their batch ids have no time, and reading all of them would delay the start."""
    copy_migrations(tmp_path, "0011")
    with monkeypatch.context() as patched:
        patched.setattr(store, "MIGRATIONS", tmp_path)
        store.upgrade()
    context, batch = ("'{}'", "gen_random_uuid()") if store.database.param == "%s" else ("'[]'", "'any'")
    store.database.execute_sql(
        "INSERT INTO event (customer, product, type, timestamp, context, sequence, batch, received) "
        f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {events}) "
        f"SELECT 'C', 'P', 'T', i, {context}, 1, {batch}, i FROM n"
    )
    store.upgrade()
    assert [row.span for row in ReceivedRange.select()] == recorded
