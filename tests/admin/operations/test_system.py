"""System pages: processes, retention, settings and versions."""

from __future__ import annotations

import re
import time
from dataclasses import fields
from pathlib import Path

import pytest
import redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from app.config import Settings
from app.redis.queue import NAME
from app.services.operations.system import starred
from app.store.events import hourly_counts
from app.store.reports import reports as store
from app.support.clock import now
from app.version import VERSION
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import FIRST, event
from tests.support.page import Element, read

DAY_MS = 86_400_000


@pytest.fixture
def limited(app, services) -> Visitor:
    """Return a signed-in operator of the customer OTHER only."""
    services.accounts.add("otto", "operator", ["OTHER"], PASSWORD)
    return Visitor(app).sign_in("otto")


@pytest.fixture
def worker(redis_url) -> Worker:
    """Register a worker in Redis."""
    connection = redis.Redis.from_url(redis_url)
    made = Worker([Queue(NAME, connection=connection, serializer=JSONSerializer)], connection=connection)
    made.register_birth()
    made.heartbeat(60)
    return made


def test_an_idle_worker_is_listed_with_its_sign_of_life(olga, worker):
    row = olga.read("/admin/system").row(worker.name)
    assert worker.hostname in row
    assert f"process {worker.pid}" in row
    assert re.search(r"Idle nothing (just now|\d+ seconds? ago)", row.text)


def test_a_busy_worker_is_listed_with_its_report_and_start(olga, limited, worker, admin):
    admin.send(event())
    job = admin.start_report()
    store.claim(job["job"], "a-token", now() - 65_000, worker.name)
    page = olga.read("/admin/system")
    assert re.search("Busy PORTFOLIO ,? ?BARCHART 1 minute ago", page.row(worker.name).text)
    assert f"/admin/reports/{job['source']}" in page.links
    assert page.all(data_moving=True)
    limited_page = limited.see("/admin/system")
    assert "Busy a report that you may not see" in read(limited_page).row(worker.name)
    assert "BARCHART" not in limited_page
    assert job["source"] not in limited_page


def test_a_silent_worker_is_marked_as_silent(olga, worker, monkeypatch):
    monkeypatch.setattr("app.services.operations.system.now", lambda: round(time.time() * 1000) + 120_000)
    assert "Silent" in olga.read("/admin/system").row(worker.name)


def test_a_missing_worker_is_reported_with_the_command(olga):
    page = olga.read("/admin/system")
    assert "No worker is running, so reports are waiting. Start one: tally worker." in page
    assert "tally worker" in [element.text for element in page.all("code")]


def test_waiting_reports_and_the_scheduler_are_shown(olga, admin, services, uncached):
    admin.send(event(), event())
    admin.start_report()
    page = olga.read("/admin/system")
    assert "1 report, 1 wake-up in Valkey" in page
    assert "not heard from" in page
    assert "about 2 events are not in the charts yet" in page
    services.scheduler.run_all()
    page = olga.read("/admin/system")
    assert re.search("last heard (just now|[0-9]+ second)", page.text)
    assert "every event is in the charts" in page


@pytest.mark.settings(redis_url="unix:///nowhere/redis.sock?db=0")
def test_the_page_works_while_redis_is_unavailable(olga):
    page = olga.read("/admin/system")
    assert "Redis cannot be reached" in page
    assert "The state of workers is unknown until it is back." in page
    assert "Report files" in page
    assert "Redis cannot be reached" in olga.read("/admin/system/versions")


@pytest.mark.settings(event_keep_days=30, rejected_keep_days=7, report_keep_days=3)
def test_the_data_that_expires_next_is_counted(olga, admin, services, nobody):
    moment = now()
    hour = hourly_counts.HOUR_MS
    old = moment - 30 * DAY_MS
    admin.send(*[event(timestamp=old + number * hour) for number in (-2, 1, 20, 30)])
    nobody.post("/events", [{"customer": "BARCHART"}, 5], headers={"Prefer": "handling=lenient"})
    services.rejected.flush()
    hourly_counts.advance()
    admin.run_report()
    page = olga.read("/admin/system")
    assert re.search(r"Events 30 days EVENT_KEEP_DAYS – .* ago 3$", page.row("Events").text)
    assert page.row("Report files").text.startswith("Report files 3 days REPORT_KEEP_DAYS 1 ")
    assert re.search(r"REJECTED_KEEP_DAYS 2 (just now|\d+ seconds? ago) 0", page.row("Rejected events").text)
    assert "365 days AUDIT_KEEP_DAYS" in page.row("Audit log")
    assert "2 days" in page.row("Idempotency keys")


def test_events_without_a_limit_never_expire(olga, admin):
    admin.send(event(timestamp=FIRST))
    hourly_counts.advance()
    row = olga.read("/admin/system").row("Events").text
    assert row.startswith("Events forever EVENT_KEEP_DAYS –")
    assert row.endswith(" 0")


def test_a_limited_operator_sees_numbers_of_their_customers_only(limited, admin, services, nobody):
    admin.send(event())
    nobody.post("/events", [{"customer": "BARCHART"}], headers={"Prefer": "handling=lenient"})
    services.rejected.flush()
    hourly_counts.advance()
    admin.run_report()
    page = limited.read("/admin/system")
    assert page.row("Events").text == "Events forever EVENT_KEEP_DAYS – 0"
    assert " 0 0" in page.row("Report files")
    assert "REJECTED_KEEP_DAYS 0 0" in page.row("Rejected events")
    assert "Audit log" not in page.row_keys()


SECRETS = {
    "secret_key": "sixteen letters and more",
    "admin_password": "not to be seen",
    "public_url": "https://tally.example",
}


@pytest.mark.settings(**SECRETS)
def test_every_setting_is_listed_with_secrets_starred(olga):
    page = olga.read("/admin/system/settings")
    names = [cell.text for cell in page.all("td", class_="setting-name")]
    assert names == [field.name.upper() for field in fields(Settings)]
    for secret in ("sixteen letters", "not to be seen"):
        assert secret not in olga.see("/admin/system/settings")
    starred = [row.cells()[0] for row in page.all("tr") if row.cells()[1:2] == ["••••••••"]]
    assert starred == ["SECRET_KEY", "ADMIN_PASSWORD"]
    assert "https://tally.example" in page


def test_the_source_of_each_setting_is_shown(app, settings, operator, monkeypatch):
    from app.services.operations.system import System

    monkeypatch.setenv("REPORT_KEEP_DAYS", "3")
    monkeypatch.setenv("LOG_FORMAT", "")
    by_name = {
        setting.name: setting for setting in System(Settings(data_dir=Path("var"), report_keep_days=3), None).settings()
    }
    assert (by_name["REPORT_KEEP_DAYS"].value, by_name["REPORT_KEEP_DAYS"].is_given) == ("3", True)
    assert not by_name["LOG_FORMAT"].is_given
    assert by_name["DATABASE_URL"].stands_for == "sqlite:///var/events.db"
    assert by_name["CORS_ORIGINS"].value == "*"
    assert by_name["SPOOL"].value == "off"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:pass@host/db", "postgresql://user:••••••••@host/db"),
        ("postgresql://user:p%40ss@h1,h2:5432/db?sslmode=require", "postgresql://user:••••••••@h1,h2:5432/db?sslmode=require"),
        ("postgresql://host/db?user=u&password=secret&x=1", "postgresql://host/db?user=u&password=••••••••&x=1"),
        ("redis://user:wo@rd@cache:6379/3", "redis://user:••••••••@cache:6379/3"),
        ("postgresql://user:wo/rd?x#y@host/db", "postgresql://user:••••••••@host/db"),
        ("redis://:word@cache:6379/3", "redis://:••••••••@cache:6379/3"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("https://a.example:8443/x", "https://a.example:8443/x"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(text, shown):
    assert starred(text) == shown


def descriptions(page: Element) -> dict[str, str]:
    """Return the descriptions of a page by their terms."""
    return {term.text: description.text for term, description in zip(page.all("dt"), page.all("dd"), strict=True)}


def test_versions_and_migrations_are_listed(olga, settings):
    versions = descriptions(olga.read("/admin/system/versions"))
    name = "SQLite" if settings.database_url.startswith("sqlite") else "PostgreSQL"
    assert versions["Tally"] == VERSION
    assert any(version.startswith(f"{name} ") for version in versions.values())
    assert any(version.startswith("Valkey ") for version in versions.values())
    assert {"Flask", "granian", "peewee", "rq"} <= set(versions)
    assert versions["0001_initial"] == "applied"
    assert "pending" not in versions.values()


def test_a_pending_migration_is_reported_with_the_command(olga, monkeypatch):
    monkeypatch.setattr("app.store.database.migrations", lambda: [("0001_initial", True), ("0002_next", False)])
    page = olga.read("/admin/system/versions")
    assert "The database needs migrating." in page
    assert "tally db upgrade" in page
    assert descriptions(page)["0002_next"] == "pending"
