"""A worker that is stopped hands back the report in progress without losing rows or counting an attempt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py
import rq
from rq.serializers import JSONSerializer

from app.redis.queue import NAME
from app.services.people.principal import SYSTEM
from app.services.reports import part_writer
from app.store.database import database
from app.store.models import Report, ReportPart
from app.store.reports import reports as store
from app.support.clock import now
from tests.support.client import FIRST, event
from tests.support.running import PYTHONPATH, wait_until
from worker import ReportWorker

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc"),
]
ROWS = 1_000
STOP_SECONDS = 6  # the supervisor kills slower workers; a plan takes five times as long

# the worker with reports of small and slow parts, or with a plan that takes half a minute
SLOW_PARTS = """
import time, worker
from app.services.reports import part_writer
part_writer.PART_ROWS, part_writer.WHOLE_ROWS = 100, 125
write = part_writer.PartWriter.write_part
part_writer.PartWriter.write_part = lambda *given: time.sleep(0.3) or write(*given)
worker.main()
"""
SLOW_PLAN = """
import worker
from app.redis.queue import NAME
from app.services.reports import runner
from app.support.clock import now
from app.store.database import database
COUNT = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT max(x) FROM n"
sleep = lambda *given, **more: database.execute_sql(COUNT if database.param == "?" else "SELECT pg_sleep(30)")
runner.make_plan = sleep
worker.main()
"""


@pytest.fixture
def start(settings, tmp_path) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Return a function that starts a worker from the text of a program."""
    started = []
    variables = {"DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database_url}
    variables |= {"REDIS_URL": settings.redis_url, "SECRET_KEY": settings.secret_key, "PYTHONPATH": PYTHONPATH}

    def run(program: str) -> subprocess.Popen:
        started.append(subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | variables))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def job(admin, services) -> str:
    """Start a report on a thousand events."""
    admin.send(*[event(timestamp=FIRST + number, context=[str(number)]) for number in range(ROWS)])
    return services.reports.start(SYSTEM, {"customer": "BARCHART", "product": "PORTFOLIO"}, None).job


def row(job: str) -> Report:
    return Report.get(Report.job == job)


def calls(settings) -> int:
    """Return the number of calls waiting in Redis."""
    return len(rq.Queue(NAME, connection=redis_py.Redis.from_url(settings.redis_url), serializer=JSONSerializer))


def stop(worker: subprocess.Popen) -> float:
    """Stop a worker as the supervisor does, and return the seconds that it took."""
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(STOP_SECONDS) == 0
    return time.monotonic() - began


def test_the_report_of_a_stopped_worker_resumes_after_its_written_parts_as_the_same_attempt(
    job, services, settings, start
):
    worker = start(SLOW_PARTS)
    wait_until(lambda: ReportPart.select().where(ReportPart.done).count() >= 2, 30)
    assert stop(worker) * 1000 < part_writer.SILENT_MS, "before the attempt counts as silent"
    report = row(job)
    assert (report.status, report.token, report.worker, report.attempt) == ("RUNNING", None, None, 1)
    done = [part.number for part in store.parts(job) if part.done]
    assert len(done) >= 2
    assert [part.token for part in store.parts(job) if not part.done] == [None] * (10 - len(done))
    assert calls(settings) == 1

    services.runner.work("the next one")
    report = row(job)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 1, ROWS)
    attempts = [(entry.number, entry.outcome, entry.worker) for entry in services.reports.attempts(report)]
    assert attempts == [(1, "complete", "the next one")]
    assert services.reports.path(report).read_bytes() == b"".join(
        b"%d|PORTFOLIO-APPLICATION-LOADED|%d\n" % (FIRST + number, number) for number in range(ROWS)
    )


@pytest.mark.both_databases
def test_a_worker_stops_during_a_long_statement(job, settings, start):
    worker = start(SLOW_PLAN)
    wait_until(lambda: row(job).token, 30)
    time.sleep(1)
    stop(worker)
    report = row(job)
    assert (report.status, report.token, report.attempt, report.stalled_attempts) == ("RUNNING", None, 1, 0)
    assert calls(settings) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_idle_worker_stops_immediately(app, redis_url, start):
    worker = start("import worker; worker.main()")
    connection = redis_py.Redis.from_url(redis_url)
    wait_until(lambda: [registered.get_state() for registered in rq.Worker.all(connection=connection)] == ["idle"], 30)
    assert stop(worker) < STOP_SECONDS / 2
    assert rq.Worker.all(connection=connection) == []


def test_a_killed_child_is_replaced_immediately(job, services, start):
    worker = start(SLOW_PARTS)
    wait_until(lambda: ReportPart.select().where(ReportPart.done).count() >= 2, 30)
    (child,) = children(worker.pid)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: row(job).attempt == 2, 5)
    wait_until(lambda: row(job).status == "COMPLETE", 30)
    assert row(job).rows == ROWS
    wait_until(lambda: not store.parts(job), 5)
    first, second = services.reports.attempts(row(job))
    assert (first.outcome, second.outcome) == ("lost", "complete")
    assert first.reason == "Its worker died: it was killed, or used more memory than there is."


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_survives_a_read_only_redis_and_ignores_foreign_jobs(job, services, redis_url, tmp_path, start):
    redis = redis_py.Redis.from_url(redis_url)
    [call] = rq.Queue(NAME, connection=redis, serializer=JSONSerializer).get_job_ids()
    redis.delete("rq:queue:reports")
    plain = rq.Queue(NAME, connection=redis, serializer=JSONSerializer)
    plain.enqueue_call("os.system", args=(f"touch {tmp_path}/owned",))
    plain.push_job_id(call)
    worker = start(
        SLOW_PARTS.replace("worker.main()", "worker.CHECK_SECONDS = worker.RESTART_SECONDS = 1; worker.main()")
    )
    wait_until(lambda: ReportPart.select().where(ReportPart.done).count() >= 2, 30)
    assert not (tmp_path / "owned").exists()
    redis.replicaof("127.0.0.1", 1)
    try:
        wait_until(lambda: row(job).status == "COMPLETE", 60)
        wait_until(lambda: not children(worker.pid), 30)
        time.sleep(1)  # RQ's own worker would have ended by now
    finally:
        redis.replicaof("NO", "ONE")
    assert (row(job).attempt, worker.poll()) == (1, None)
    second = services.reports.start(SYSTEM, {"customer": "BARCHART", "product": "PORTFOLIO"}, None).job
    wait_until(lambda: row(second).status == "COMPLETE", 60)
    stop(worker)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_parent_closes_the_database_as_soon_as_possible(job, start):
    """Children would inherit the connection, and SQLite's locks belong to a process."""
    worker = start(SLOW_PARTS)
    for number in (1, 2):
        wait_until(lambda number=number: row(job).attempt == number and any(map(has_open, children(worker.pid))), 30)
        assert not has_open(worker.pid)
        os.kill(children(worker.pid)[-1], signal.SIGKILL)


def test_the_parent_releases_the_report_of_a_dead_child_and_keeps_no_connection(job, services, redis_url):
    queue = rq.Queue(NAME, connection=redis_py.Redis.from_url(redis_url), serializer=JSONSerializer)
    parent = ReportWorker([queue], connection=queue.connection)
    parent.runner = services.runner
    store.claim(job, "token", now(), parent.name)
    parent.handle_work_horse_killed()
    assert database.is_closed()
    assert getattr(database.obj, "_connections", []) == []
    assert row(job).token is None


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_open(pid: int) -> bool:
    """Return whether a process has the SQLite database open."""
    return any(os.readlink(link).endswith("events.db") for link in Path(f"/proc/{pid}/fd").iterdir())
