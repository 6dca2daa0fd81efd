"""`/health`: whether the process is alive, and whether each part of the service works, with reasons if not."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from app.exceptions import StoreUnavailable
from app.redis.queue import ReportQueue, WorkerSeen
from tests.support.pace import slack


def test_live_returns_200(nobody):
    answer = nobody.get("/health/live")
    assert (answer.status_code, answer.get_data()) == (200, b'{"status":"live"}')


def get_ready(client) -> tuple[int, dict]:
    answer = client.get("/health/ready")
    return answer.status_code, answer.get_json()


@pytest.mark.usefixtures("uncached")
class TestReady:
    """The service is ready if it accepts events. Every other problem is reported by name."""

    @pytest.fixture
    def worker(self, monkeypatch) -> list[float]:
        """Return the times of the workers' heartbeats, which a test sets."""
        beats = [time.time()]

        def workers(_: ReportQueue) -> list[WorkerSeen]:
            return [WorkerSeen("w", "host", 1, 0, round(beat * 1000), calls=0, failed=0) for beat in beats]

        monkeypatch.setattr(ReportQueue, "workers", workers)
        return beats

    @pytest.fixture
    def away(self, monkeypatch) -> None:
        """Make the database unavailable."""

        def fail() -> list[str]:
            raise StoreUnavailable("The database cannot be reached: connection refused.")

        monkeypatch.setattr("app.services.operations.health.pending", fail)

    def test_without_problems_every_check_is_ok(self, nobody, services, worker):
        services.scheduler.run_all()
        status, body = get_ready(nobody)
        assert status == 200
        assert list(body) == ["status", "checks", "reasons"]
        assert (body["status"], body["reasons"]) == ("ready", [])
        assert list(body["checks"]) == ["database", "redis", "worker", "scheduler", "storage", "disk", "spool"]
        assert set(body["checks"].values()) == {"ok"}

    def test_without_a_worker_it_is_ready_and_explains_how_to_start_one(self, nobody):
        status, body = get_ready(nobody)
        assert (status, body["status"], body["reasons"]) == (200, "ready", [])
        assert "tally worker" in body["checks"]["worker"]
        assert "tally scheduler" in body["checks"]["scheduler"]
        assert body["checks"]["redis"] == "ok"

    @pytest.mark.settings(redis_url="unix:///nowhere/redis.sock")
    def test_without_redis_it_is_ready_and_responds_quickly(self, nobody):
        began = time.monotonic()
        status, body = get_ready(nobody)
        assert time.monotonic() - began < slack(3)
        assert (status, body["status"]) == (200, "ready")
        assert "Redis cannot be reached" in body["checks"]["redis"]
        assert body["checks"]["database"] == "ok"

    @pytest.mark.settings(redis_url="redis://:word@127.0.0.1:1/0", storage_url="file:///etc/passwd/reports")
    def test_responses_contain_no_addresses_or_folders(self, nobody, services, settings, monkeypatch):
        monkeypatch.setattr("app.services.operations.health.MIN_FREE_BYTES", 2**62)
        checks = get_ready(nobody)[1]["checks"]
        assert checks["redis"] == "Redis cannot be reached. Reports wait until it is back; events are not affected."
        assert checks["storage"].startswith("The storage of report files cannot be used. Reports fail")
        assert checks["disk"].startswith("The disk of DATA_DIR has ")
        problems = {check.name: check.problem for check in services.health.glance()}
        assert "127.0.0.1:1" in problems["redis"], "the page System shows the address"
        assert "/etc/passwd/reports" in problems["storage"]
        assert str(settings.data_dir) in problems["disk"]

    def test_without_a_database_it_is_not_ready(self, nobody, worker, away):
        status, body = get_ready(nobody)
        assert (status, body["status"]) == (503, "unready")
        assert body["reasons"] == [
            "The database cannot be reached: connection refused. Events are refused until it is back."
        ]
        assert body["checks"]["database"] == body["reasons"][0]

    @pytest.mark.settings(spool=True)
    def test_without_a_database_it_is_ready_if_events_go_to_the_spool(self, nobody, worker, away):
        status, body = get_ready(nobody)
        assert (status, body["status"], body["reasons"]) == (200, "ready", [])
        assert body["checks"]["database"] == (
            "The database cannot be reached: connection refused. Events are kept in the spool until it is back."
        )

    @pytest.mark.settings(spool=True)
    def test_without_a_database_and_a_spool_it_is_not_ready(self, nobody, worker, away, settings, monkeypatch):
        settings.data_dir.mkdir(exist_ok=True)
        (settings.data_dir / "spool").write_text("a file where a folder should be")
        status, body = get_ready(nobody)
        assert (status, body["reasons"]) == (503, [body["checks"]["database"]])
        assert "Events are refused until it is back." in body["checks"]["database"]
        assert body["checks"]["spool"] == (
            "The spool cannot be written: File exists. Events are refused while the database is away."
        )

    @pytest.mark.settings(spool=True)
    def test_a_full_spool_is_reported_before_it_is_needed(self, nobody, worker, monkeypatch):
        def full(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_bytes", full)
        status, body = get_ready(nobody)
        assert (status, body["checks"]["database"]) == (200, "ok")
        assert "The spool cannot be written: No space left on device." in body["checks"]["spool"]

    @pytest.mark.settings(spool=True)
    def test_a_database_that_needs_migrating_is_not_ready(self, nobody, worker, monkeypatch):
        monkeypatch.setattr("app.services.operations.health.pending", lambda: ["0009_next"])
        status, body = get_ready(nobody)
        assert status == 503
        assert "db upgrade" in body["reasons"][0]

    def test_it_needs_no_credentials_and_reveals_no_secrets(self, nobody, settings):
        assert settings.secret_key not in nobody.get("/health/ready").get_data(as_text=True)
