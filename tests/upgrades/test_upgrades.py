"""This version upgrades the database of each released version: nothing is lost, and the schema is that of a new one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from app.store import database as store
from app.store.models import Delivery, Schedule
from app.store.operations import transfer
from app.store.operations.table_rows import Table
from app.support.clock import now
from app.version import VERSION
from tests.conftest import finish_database_threads
from tests.support import backing_servers
from tests.support.client import Client, event
from tests.support.running import ROOT
from tests.upgrades import make
from tests.upgrades.answers import ADMIN, PASSWORD, keep_known, read_answers, run
from tests.upgrades.schema import read_schema

RELEASES = re.findall(r"^## (\d+\.\d+\.\d+)\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
KEPT = [(version, kind) for version in RELEASES for kind in ("sqlite", "postgresql")]

CHANGES = (
    "DROP INDEX report_account",
    "ALTER TABLE setting_seen ADD COLUMN more TEXT",
    "CREATE UNIQUE INDEX more ON customer (description) WHERE description <> ''",
    "CREATE TABLE another (id INTEGER PRIMARY KEY)",
)


@dataclass(frozen=True)
class Upgraded:
    """A kept database after its upgrade.

    Attributes:
        kept: what is kept beside it.
        tables: the tables before.
        rows: how many rows each of them had.
    """

    app: Flask
    url: str
    kept: dict[str, object]
    tables: list[Table]
    rows: dict[str, int]


@pytest.fixture(params=KEPT, ids=" ".join)
def upgraded(request, tmp_path: Path, redis_url: str, monkeypatch):
    """Upgrade a kept database as if it were the moment at which it was made, because reports, files and keys expire."""
    version, kind = request.param
    if kind == "sqlite":
        url = make.restore_sqlite(version, tmp_path / "kept.db")
    else:
        name = f"upgraded_{hashlib.md5(str(tmp_path).encode()).hexdigest()}"
        server = request.getfixturevalue("postgres_server")
        url = make.restore_postgresql(version, backing_servers.make_database(server, name))
    kept = json.loads((make.FOLDER / version / f"{kind}.json").read_text())
    with transfer.reading(url) as source:
        tables = source.tables()
        rows = {table.name: source.count(table.name) for table in tables}
    settings = {"secret_key": "the secret of a kept database", "public_url": "https://tally.example"}
    app = create_app(Settings(data_dir=tmp_path / "var", database_url=url, redis_url=redis_url, **settings))
    age, time_ns, clock_ms = now() - kept["made_at"], time.time_ns, store.database.clock_ms
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() - age * 1_000_000)
    monkeypatch.setattr(store.database.obj, "clock_ms", f"({clock_ms} - {age})")
    run(app, "db", "upgrade")
    yield Upgraded(app, url, kept, tables, rows)
    finish_database_threads()
    store.disconnect()


@pytest.fixture
def fresh_url(request, upgraded: Upgraded) -> str:
    """An empty database of this version, of the same kind."""
    return request.getfixturevalue("sqlite_url" if upgraded.url.startswith("sqlite") else "postgres_url")


def test_every_event_report_and_user_is_found_as_before(upgraded):
    assert [name for name, number in upgraded.rows.items() if not number] == []
    answers = read_answers(upgraded.app)
    for question, kept in upgraded.kept["answers"].items():
        assert keep_known(answers[question], kept) == kept, question


def test_processes_of_the_old_version_can_write_until_they_are_replaced(upgraded):
    """They fill in no column that they do not know, and leave those empty that could be empty."""
    with transfer.reading(upgraded.url) as source:
        columns = {table.name: {column.name: column for column in table.columns} for table in source.tables()}
    for table in upgraded.tables:
        is_required = {name: not column.is_nullable for name, column in columns[table.name].items()}
        before = {column.name: not column.is_nullable for column in table.columns}
        assert before.keys() <= is_required.keys(), table.name
        assert [name for name, required in is_required.items() if required and not before.get(name)] == [], table.name


def test_the_upgraded_installation_continues(upgraded):
    """What was sent before is not stored twice, a key is still valid, and the reports that waited are written."""
    admin, nobody = Client(upgraded.app, (ADMIN, PASSWORD)), Client(upgraded.app, None)
    repeated = nobody.post("/events", make.REPEATED, headers=make.REPEATED_KEY)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    bearer = {"Authorization": f"Bearer {upgraded.kept['ingest_key']}"}
    assert nobody.post("/events", {"events": [event(customer="NEW")]}, headers=bearer).status_code == 200
    number = upgraded.kept["answers"]["tally events count"]["events"]
    assert run(upgraded.app, "events", "count")["events"] == number + 1
    services = upgraded.app.extensions["services"]
    waiting = [job for job in upgraded.kept["answers"]["GET /reports"] if job["status"] == "RUNNING"]
    services.runner.worker_died("a worker that was killed")
    for job in waiting:
        services.runner.run(job["job"])
    done = [admin.availability(job["source"])["status"] for job in waiting]
    assert done == ["COMPLETE"] * len(waiting) != []
    assert carried_over(upgraded) != []


def test_the_scheduler_makes_the_daily_customer_counts(upgraded):
    services, compared = upgraded.app.extensions["services"], "daily customer counts against hourly counts"
    assert compared not in services.verifier.database().checked
    services.scheduler.count()
    store.release()
    found = services.verifier.database()
    assert compared in found.checked
    assert [problem for problem in found.problems if "count" in problem] == []


def carried_over(upgraded: Upgraded) -> list[str]:
    """Return the webhooks that had been URLs of recurring reports, after checking their secrets and deliveries."""
    old = store.database.execute_sql("SELECT id, name, webhook, webhook_salt FROM schedule WHERE webhook IS NOT NULL")
    webhooks = upgraded.app.extensions["services"].webhooks
    found = []
    for schedule, name, url, salt in old.fetchall():
        (webhook,) = upgraded.app.extensions["services"].schedules.webhooks(Schedule.get_by_id(schedule))
        key = hmac.digest(b"the secret of a kept database", f"webhook:{salt}".encode(), "sha256")
        secret = "tally_hook_" + base64.urlsafe_b64encode(key).decode().rstrip("=")
        assert (webhook.url, webhooks.secrets(webhook)) == (url, [secret])
        deliveries = Delivery.select().where(Delivery.schedule == schedule)
        assert {(one.webhook, one.type.split(".")[0]) for one in deliveries} <= {(webhook.id, "report")}
        found.append(name)
    return found


def test_the_schema_is_that_of_a_new_installation(upgraded, fresh_url):
    upgraded_schema, fresh = read_schema(upgraded.url), read_schema(fresh_url)
    for kind, rows in fresh.items():
        rows = [row for row in rows if "INDEX event_item " not in str(row)]  # created by a scheduler, at any time
        assert upgraded_schema[kind] == rows, f"{kind}. Before the release of {VERSION}: python -m tests.upgrades.make"


def test_a_schema_that_differs_is_noticed(empty_database, empty_database_url):
    store.upgrade()
    seen = [read_schema(empty_database_url)]
    for change in CHANGES:
        store.database.execute_sql(change)
        store.release()
        seen.append(read_schema(empty_database_url))
        assert seen[-1] != seen[-2], change


def test_this_version_is_in_the_changelog_and_has_its_databases():
    assert RELEASES[0] == VERSION
    for version in RELEASES:
        files = {path.name for path in (make.FOLDER / version).iterdir()}
        assert files == {make.SQLITE, make.POSTGRESQL, "sqlite.json", "postgresql.json"}
