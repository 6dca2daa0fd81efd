"""Readiness: what the service depends on is looked at now, and what is wrong is told with what to do."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_py
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from app import create_app
from app.config import Settings
from app.redis.queue import NAME, SCHEDULER
from app.services.operations import health as module
from app.store import database as store
from app.support.timed_call import TimedCall
from tests.support.pace import slack


def problems(services) -> dict[str, str]:
    """What is wrong now; a scheduler never is there, unless a test has one."""
    found = {check.name: check.problem for check in services.health.checks() if check.problem}
    return {name: problem for name, problem in found.items() if name != "scheduler"}


def stopping(services) -> list[str]:
    """What keeps events from being accepted."""
    return [check.name for check in services.health.checks() if check.stops_events]


@pytest.fixture
def worker(redis_url: str) -> Worker:
    """A worker that has registered itself."""
    connection = redis_py.Redis.from_url(redis_url)
    queue = Queue(NAME, connection=connection, serializer=JSONSerializer)
    worker = Worker([queue], connection=connection, serializer=JSONSerializer)
    worker.register_birth()
    return worker


def test_without_a_worker_reports_wait(services):
    assert problems(services) == {
        "worker": "No worker has been heard from lately. Reports wait. Start one: python worker.py."
    }


def test_a_worker_not_heard_from_for_a_minute_is_none(services, worker, redis_url):
    silent = datetime.now(UTC) - timedelta(seconds=module.SILENT_SECONDS + 1)
    redis_py.Redis.from_url(redis_url).hset(worker.key, "last_heartbeat", silent.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert "worker" in problems(services)


def test_a_worker_that_stopped_is_none(services, worker):
    worker.register_death()
    assert "worker" in problems(services)


def test_a_database_without_tables_needs_migrating(tmp_path):
    services = create_app(Settings(data_dir=tmp_path)).extensions["services"]
    assert "flask --app wsgi db upgrade" in problems(services)["database"]
    store.release()


def test_a_database_that_is_away_is_told(tmp_path):
    settings = Settings(data_dir=tmp_path, database_url="postgresql://127.0.0.1:1/tally")
    services = create_app(settings).extensions["services"]
    assert "cannot be reached" in problems(services)["database"]


def test_a_database_that_hangs_is_told_in_time(services, worker, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(module, "pending", lambda: go.wait(30) and [])
    monkeypatch.setattr(services.health._pending, "_seconds", 0.2)
    began = time.monotonic()
    told = "The database does not answer. Events are refused until it is back."
    assert [problems(services), problems(services)] == [{"database": told}] * 2
    assert time.monotonic() - began < slack(3)
    go.set()


def test_the_disk_is_looked_at_before_the_folder_is_made(tmp_path, redis_url):
    services = create_app(Settings(data_dir=tmp_path / "not" / "yet", secret_key="x" * 16)).extensions["services"]
    assert "disk" not in problems(services)
    store.release()


class TestAGlance:
    """What pages show: the same and the scheduler, kept for a moment."""

    def test_without_a_scheduler_charts_stand_still(self, services, worker):
        assert glanced(services)["scheduler"].startswith("No scheduler has been heard from. Charts stand still,")
        assert stopping(services) == []  # readiness does not wait for it

    def test_a_scheduler_leaves_a_sign_of_life(self, services, worker):
        services.scheduler.run_all()
        assert glanced(services) == {}

    def test_how_long_it_has_been_silent_is_told(self, services, worker, redis_url):
        silent = time.time() - 130
        redis_py.Redis.from_url(redis_url).set(SCHEDULER, silent)
        assert glanced(services)["scheduler"].startswith("No scheduler has been heard from for 2 minutes.")

    @pytest.mark.settings(redis_url="unix:///nowhere.sock")
    def test_without_redis_nobody_knows(self, services):
        assert glanced(services)["scheduler"] == "Whether a scheduler is there cannot be told without Redis."

    def test_what_is_well_says_how_well(self, services, worker):
        services.scheduler.run_all()
        notes = {check.name: check.note for check in services.health.glance()}
        assert (notes["worker"], notes["spool"]) == ("1", "empty")
        assert notes["disk"].endswith(" GB free")

    def test_many_who_look_at_once_cost_one_look(self, services, monkeypatch):
        looks = []
        monkeypatch.setattr(services.health, "checks", lambda: looks.append(1) or [])
        for _ in range(5):
            services.health.glance()
        assert len(looks) == 1


class TestTheStorage:
    """Pages and monitoring are told; readiness is not, as events can be taken."""

    def test_a_store_that_is_well_is(self, s3, services, worker):
        services.scheduler.run_all()
        assert glanced(services) == {}

    @pytest.mark.settings(storage_url="s3://no-such-bucket/reports")
    def test_a_bucket_that_is_not_there_is_told_with_what_comes_of_it(self, s3, services, worker):
        assert glanced(services)["storage"] == (
            "The S3 store has no bucket no-such-bucket. Reports fail until that is mended; events are not affected."
        )
        assert stopping(services) == []

    @pytest.mark.settings(s3_endpoint_url="http://127.0.0.1:1")
    def test_a_store_that_is_away_is_told(self, s3, services):
        assert glanced(services)["storage"].startswith("The S3 store cannot be reached. Reports fail until")

    def test_a_store_that_hangs_is_told_in_time(self, services, monkeypatch):
        go = threading.Event()
        monkeypatch.setattr(services.health, "_storage_probe", TimedCall(lambda: go.wait(30), 0.2))
        began = time.monotonic()
        assert glanced(services)["storage"].startswith("The storage of report files does not answer.")
        assert time.monotonic() - began < slack(3)
        go.set()

    def test_it_is_looked_at_once_in_a_while(self, services):
        looks = []
        services.health._storage_probe = TimedCall(lambda: looks.append(1), 1)
        for _ in range(5):
            glanced(services)
        assert looks == [1]

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        settings = Settings(data_dir=tmp_path, storage_url=f"file://{tmp_path}/file/reports", secret_key="x" * 16)
        storage = create_app(settings).extensions["services"].health._storage()
        assert "cannot be written to" in storage.problem


def glanced(services) -> dict[str, str]:
    services.health._glances.seconds = 0
    return {check.name: check.problem for check in services.health.glance() if check.problem}
