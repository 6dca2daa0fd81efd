"""Health checks: the current state of each dependency, with a message that says what to do."""

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
from app.storage.local import LocalStorage
from app.store import database as store
from tests.support.pace import slack
from tests.support.running import wait_until


def problems(services) -> dict[str, str]:
    """Return the current problems by name, without the scheduler, which most tests do not run."""
    problems_by_name = {check.name: check.problem for check in services.health.checks() if check.problem}
    return {name: problem for name, problem in problems_by_name.items() if name != "scheduler"}


def checks_that_stop_events(services) -> list[str]:
    """Return the checks whose problem prevents accepting events."""
    return [check.name for check in services.health.checks() if check.stops_events]


@pytest.fixture
def worker(redis_url: str) -> Worker:
    """A registered worker."""
    connection = redis_py.Redis.from_url(redis_url)
    queue = Queue(NAME, connection=connection, serializer=JSONSerializer)
    worker = Worker([queue], connection=connection, serializer=JSONSerializer)
    worker.register_birth()
    return worker


def test_without_a_worker_reports_wait(services):
    assert problems(services) == {
        "worker": "No worker has been heard from lately. Reports wait. Start one: tally worker."
    }


def test_a_worker_that_was_silent_for_a_minute_does_not_count(services, worker, redis_url):
    silent = datetime.now(UTC) - timedelta(seconds=module.SILENT_SECONDS + 1)
    redis_py.Redis.from_url(redis_url).hset(worker.key, "last_heartbeat", silent.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert "worker" in problems(services)


def test_a_stopped_worker_does_not_count(services, worker):
    worker.register_death()
    assert "worker" in problems(services)


def test_a_database_without_tables_needs_a_migration(tmp_path):
    services = create_app(Settings(data_dir=tmp_path)).extensions["services"]
    assert "tally db upgrade" in problems(services)["database"]
    store.release()


def test_an_unreachable_database_is_reported(tmp_path):
    settings = Settings(data_dir=tmp_path, database_url="postgresql://127.0.0.1:1/tally")
    services = create_app(settings).extensions["services"]
    assert "cannot be reached" in problems(services)["database"]


def test_a_database_that_hangs_is_reported_within_the_time_limit(settings, worker, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(module, "pending", lambda: release.wait(30) and [])
    monkeypatch.setattr(module, "DATABASE_SECONDS", 0.2)
    services = create_app(settings).extensions["services"]
    began = time.monotonic()
    message = "The database does not answer. Events are refused until it is back."
    assert [problems(services), problems(services)] == [{"database": message}] * 2
    assert time.monotonic() - began < slack(3)
    release.set()


def test_disk_space_is_checked_before_the_folder_exists(tmp_path, redis_url):
    services = create_app(Settings(data_dir=tmp_path / "not" / "yet", secret_key="x" * 16)).extensions["services"]
    assert "disk" not in problems(services)
    store.release()


class TestAGlance:
    """The cached checks that pages show, which include the scheduler."""

    def test_a_missing_scheduler_is_reported_and_does_not_affect_readiness(self, services, worker):
        assert glance_problems(services)["scheduler"].startswith(
            "No scheduler has been heard from. Charts are not updated,"
        )
        assert checks_that_stop_events(services) == []  # readiness does not include it

    def test_a_running_scheduler_is_detected(self, services, worker):
        services.scheduler.run_all()
        assert glance_problems(services) == {}

    def test_the_first_evaluation_of_alerts_finds_the_scheduler_running(self, services, worker, monkeypatch):
        found = []

        def evaluate() -> None:
            found.append(glance_problems(services))
            raise SystemExit  # ends the thread

        monkeypatch.setattr(services.alert_evaluation, "evaluate", evaluate)
        services.scheduler.run_beside("alerts")
        wait_until(lambda: found, slack(10))
        assert found == [{}]

    def test_the_duration_of_the_scheduler_s_silence_is_reported(self, services, worker, redis_url):
        silent = time.time() - 130
        redis_py.Redis.from_url(redis_url).set(SCHEDULER, silent)
        assert glance_problems(services)["scheduler"].startswith("No scheduler has been heard from for 2 minutes.")

    @pytest.mark.settings(redis_url="unix:///nowhere.sock")
    def test_without_redis_the_scheduler_s_state_is_unknown(self, services):
        assert glance_problems(services)["scheduler"] == "Whether a scheduler runs is unknown without Redis."

    def test_a_check_without_a_problem_has_a_note(self, services, worker):
        services.scheduler.run_all()
        notes = {check.name: check.note for check in services.health.glance()}
        assert (notes["worker"], notes["spool"]) == ("1", "empty")
        assert notes["disk"].endswith(" GB free")

    def test_repeated_glances_share_the_checks(self, services, monkeypatch):
        calls = []
        monkeypatch.setattr(services.health, "checks", lambda: calls.append(1) or [])
        for _ in range(5):
            services.health.glance()
        assert len(calls) == 1


class TestTheStorage:
    """A problem of the storage is shown on pages and in metrics, but does not affect readiness."""

    def test_a_working_store_has_no_problem(self, s3, services, worker):
        services.scheduler.run_all()
        assert glance_problems(services) == {}

    @pytest.mark.settings(storage_url="s3://no-such-bucket/reports")
    def test_a_missing_bucket_is_reported_with_its_effect(self, s3, services, worker):
        assert glance_problems(services)["storage"] == (
            "The S3 store has no bucket no-such-bucket. Reports fail until that is fixed; events are not affected."
        )
        assert checks_that_stop_events(services) == []

    @pytest.mark.settings(s3_endpoint_url="http://127.0.0.1:1")
    def test_an_unreachable_store_is_reported(self, s3, services):
        assert glance_problems(services)["storage"].startswith("The S3 store cannot be reached. Reports fail until")

    def test_a_store_that_hangs_is_reported_within_the_time_limit(self, app, settings, monkeypatch):
        release = threading.Event()
        monkeypatch.setattr(LocalStorage, "probe", lambda storage: release.wait(30))
        monkeypatch.setattr(module, "STORAGE_SECONDS", 0.2)
        services = create_app(settings).extensions["services"]
        began = time.monotonic()
        assert glance_problems(services)["storage"].startswith("The storage of report files does not answer.")
        assert time.monotonic() - began < slack(3)
        release.set()

    def test_the_storage_is_probed_at_intervals(self, app, settings, monkeypatch):
        calls = []
        monkeypatch.setattr(LocalStorage, "probe", lambda storage: calls.append(1))
        services = create_app(settings).extensions["services"]
        for _ in range(5):
            glance_problems(services)
        assert calls == [1]

    def test_a_folder_that_cannot_be_created_is_reported(self, tmp_path):
        (tmp_path / "file").touch()
        settings = Settings(data_dir=tmp_path, storage_url=f"file://{tmp_path}/file/reports", secret_key="x" * 16)
        services = create_app(settings).extensions["services"]
        assert "cannot be written to" in glance_problems(services)["storage"]
        store.release()


def glance_problems(services) -> dict[str, str]:
    return {check.name: check.problem for check in services.health.checks() if check.problem}
