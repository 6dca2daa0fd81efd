"""Redis may be unavailable or lose everything: reports wait meanwhile, and none is lost."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import pytest

from tests.flows.conftest import Visitor
from tests.support import backing_servers, forked
from tests.support.client import event
from tests.support.running import wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes are ended by what Linux offers"),
]
OURS = {"customer": "BARCHART", "product": "PORTFOLIO"}


class Redis:
    """A server without persistence that is not running at first."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/v.sock?db=0"
        self._folder = folder
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        assert self._running.enter_context(backing_servers.valkey(self._folder)) == self.url

    def kill(self) -> None:
        self._running.close()


@pytest.fixture
def redis(short_folder):
    server = Redis(Path(tempfile.mkdtemp(dir=short_folder)))
    yield server
    server.kill()


def sweep(visitor: Visitor) -> None:
    """Run at once what the scheduler does every few seconds."""
    service = visitor.service
    result = forked.tally("scheduler", "--once", folder=service.data.parent, environment=service.environment)
    assert result.returncode == 0, result.stderr


def wrong(visitor: Visitor) -> set[str]:
    """Return the failed checks of /health/ready."""
    checks = visitor.get("/health/ready").json()["checks"]
    return {name for name, state in checks.items() if state != "ok"}


def test_a_report_accepted_without_redis_finishes_when_it_is_back(start, redis):
    visitor = start(REDIS_URL=redis.url)
    assert "REDIS_URL: Redis cannot be reached: Error 2 connecting to /" in visitor.service.said()
    assert "valkey started" not in visitor.service.said()
    assert visitor.post("/events", json=[event(), event()]).status_code == 200
    job = visitor.start_report(**OURS)
    assert job["status"] == "RUNNING"
    assert wrong(visitor) == {"redis", "worker", "scheduler"}

    redis.start()
    wait_until(lambda: not wrong(visitor), 15)  # the worker waited for it
    sweep(visitor)
    assert visitor.until_ended(job)["status"] == "COMPLETE"
    assert visitor.progress(job)["file"]["rows"] == 2

    redis.kill()
    wait_until(lambda: "redis" in wrong(visitor), 15)
    second = visitor.start_report(**OURS)
    redis.start()  # it lost every worker and every job
    wait_until(lambda: not wrong(visitor), 20)
    sweep(visitor)
    assert visitor.until_ended(second)["status"] == "COMPLETE"
    assert not visitor.service.ended()
    assert "cannot stay up" not in visitor.service.said()

    redis.kill()
    assert visitor.service.stop() == 0
    assert visitor.service.left() == {}
