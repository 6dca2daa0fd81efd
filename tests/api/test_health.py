"""`/health`: whether the process lives, and whether all of the service's work can be done, with reasons where not."""

from __future__ import annotations

import time

import pytest
import redis as redis_py

from app.exceptions import StoreUnavailable
from tests.support.pace import slack


def test_a_live_process_says_so(nobody):
    answer = nobody.get("/health/live")
    assert (answer.status_code, answer.get_data()) == (200, b'{"status":"live"}')


def ready(client) -> tuple[int, dict]:
    answer = client.get("/health/ready")
    return answer.status_code, answer.get_json()


class TestReady:
    @pytest.fixture
    def worker(self, monkeypatch) -> list[float]:
        """When workers were heard from; a test puts times into it."""
        beats = [time.time()]
        monkeypatch.setattr("app.queue.ReportQueue.heartbeats", lambda self: beats)
        return beats

    def test_it_is_where_everything_is_there(self, nobody, worker):
        status, body = ready(nobody)
        assert status == 200
        assert list(body) == ["status", "checks", "reasons"]
        assert (body["status"], body["reasons"]) == ("ready", [])
        assert list(body["checks"])[:4] == ["database", "redis", "worker", "disk"]
        assert set(body["checks"].values()) == {"ok"}

    def test_without_a_worker_it_is_not_and_says_how_to_start_one(self, nobody):
        status, body = ready(nobody)
        assert (status, body["status"]) == (503, "unready")
        assert body["reasons"] == [body["checks"]["worker"]]
        assert "worker.py" in body["checks"]["worker"]
        assert body["checks"]["redis"] == "ok"

    def test_a_worker_that_was_silent_for_long_does_not_count(self, nobody, worker):
        worker[:] = [time.time() - 3_600]
        assert ready(nobody)[0] == 503
        worker.append(time.time())
        assert ready(nobody)[0] == 200

    @pytest.mark.settings(redis_url="unix:///nowhere/redis.sock")
    def test_without_redis_it_is_not_and_answers_soon(self, nobody):
        began = time.monotonic()
        status, body = ready(nobody)
        assert time.monotonic() - began < slack(1)
        assert status == 503
        assert "Redis cannot be reached" in body["checks"]["redis"]
        assert body["checks"]["database"] == "ok"
        assert body["reasons"] == [body["checks"]["redis"], body["checks"]["worker"]]

    def test_without_a_database_it_is_not(self, nobody, worker, monkeypatch):
        def fail() -> list[str]:
            raise StoreUnavailable("The database cannot be reached: connection refused.")

        monkeypatch.setattr("app.services.health.pending", fail)
        status, body = ready(nobody)
        assert status == 503
        assert "connection refused" in body["checks"]["database"]

    def test_a_database_that_needs_migrating_is_not_ready(self, nobody, worker, monkeypatch):
        monkeypatch.setattr("app.services.health.pending", lambda: ["0009_next"])
        status, body = ready(nobody)
        assert status == 503
        assert "db upgrade" in body["reasons"][0]

    def test_a_full_disk_is_not_ready(self, nobody, worker, monkeypatch):
        monkeypatch.setattr("app.services.health.MIN_FREE_BYTES", 2**60)
        status, body = ready(nobody)
        assert status == 503
        assert "MB left" in body["checks"]["disk"]

    def test_it_needs_no_credentials_and_keeps_no_secrets(self, nobody, settings):
        assert settings.secret_key not in nobody.get("/health/ready").get_data(as_text=True)


def test_the_times_of_real_workers_are_read(services, redis_url):
    connection = redis_py.Redis.from_url(redis_url)
    connection.sadd("rq:workers:reports", "rq:worker:one", "rq:worker:gone")
    connection.hset("rq:worker:one", "last_heartbeat", "2026-11-23T00:00:00.000000Z")
    assert services.reports._queue.heartbeats() == [1_795_392_000.0]
