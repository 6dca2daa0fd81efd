"""Redis fails or hangs: events and pages are served without delay, and reports run afterwards."""

from __future__ import annotations

import html
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis as redis_py
import structlog
from rq import Callback, Queue, Worker
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

import worker
from app.exceptions import QueueUnavailable
from app.redis import queue as module
from app.redis import rate_limit
from app.redis.queue import HELP, NAME, WORK, ReportJob, ReportQueue
from app.redis.rate_limit import RateLimit
from tests.admin.conftest import Visitor
from tests.conftest import RATE_LIMIT_SECONDS
from tests.support.client import event
from tests.support.running import wait_until

PAGE_SECONDS = 3


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, because Redis behaves the same with either database."""
    return sqlite_url


@contextmanager
def replica(connection: redis_py.Redis) -> Iterator[str]:
    connection.replicaof("127.0.0.1", 1)
    try:
        yield "Redis is read-only"
    finally:
        connection.replicaof("NO", "ONE")


@contextmanager
def full(connection: redis_py.Redis) -> Iterator[str]:
    connection.config_set("maxmemory", 1)
    try:
        yield "Redis is out of memory"
    finally:
        connection.config_set("maxmemory", 0)


@contextmanager
def hanging(connection: redis_py.Redis) -> Iterator[str]:
    pid = connection.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield "Redis does not answer"
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(params=[replica, full, hanging], ids=lambda trouble: trouble.__name__)
def trouble(request, redis_url) -> Callable:
    connection = redis_py.Redis.from_url(redis_url)
    return lambda: request.param(connection)


def test_events_and_pages_are_served_during_the_failure_and_reports_run_after_it(
    app, services, operator, trouble, uncached, monkeypatch
):
    monkeypatch.setattr(rate_limit, "TIMEOUT_SECONDS", RATE_LIMIT_SECONDS)
    visitor = Visitor(app).sign_in("olga")
    operator.send(event())
    assert visitor.get("/admin/").status_code == 200
    with trouble() as reason:
        for path in ("/admin/", "/admin/system", "/health/ready", "/metrics"):
            began = time.monotonic()
            text = visitor.get(path).get_data(as_text=True)
            assert time.monotonic() - began < PAGE_SECONDS, path
            assert reason in html.unescape(text) or path == "/metrics"
        began = time.monotonic()
        operator.send(event())
        job = operator.post("/reports", {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}).get_json()
        Visitor(app).sign_in("olga")
        assert time.monotonic() - began < PAGE_SECONDS
        services.scheduler.run_all()  # none of the tasks raises
    wait_until(lambda: services.health.redis().problem is None, 10)
    services.scheduler.run_all()
    assert services.reports.queue.missing([job["job"]]) == []


def test_a_missing_redis_database_is_named(redis_url):
    queue = ReportQueue(redis_url.replace("db=0", "db=99"), 1)
    with pytest.raises(QueueUnavailable, match="DB index is out of range"):
        queue.ping()


def test_foreign_data_is_named_and_breaks_no_page(app, services, operator, redis_url):
    redis = redis_py.Redis.from_url(redis_url)
    redis.set(module.SCHEDULER, "soon")
    redis.hset(module.REQUESTS, "of another program", "x")
    redis.sadd(f"rq:workers:{NAME}", b"rq:worker:\xff")
    redis.lpush(f"rq:queue:{NAME}", b"\xff")
    visitor = Visitor(app).sign_in("olga")
    for path in ("/admin/", "/admin/system", "/health/ready"):
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert module.FOREIGN in html.unescape(answer.get_data(as_text=True))
    assert operator.get("/metrics").status_code == 200
    with structlog.testing.capture_logs() as logs:
        services.scheduler.run_all()
    assert not [entry for entry in logs if entry["event"] == "periodic task failed"]


def test_queries_wait_only_once_for_a_redis_that_hangs(redis_url):
    queue = ReportQueue(redis_url, 1)
    queue.ping()
    with hanging(redis_py.Redis.from_url(redis_url)):
        began = time.monotonic()
        for query in (queue.workers, queue.length, queue.server, queue.scheduler_seen, queue.ping):
            with pytest.raises(QueueUnavailable, match="Redis does not answer: Timeout reading"):
                query()
        assert time.monotonic() - began < 2 * module.TIMEOUT_SECONDS


def test_listing_workers_does_not_change_the_connection_timeout(redis_url):
    redis = redis_py.Redis.from_url(redis_url)
    Worker([Queue(NAME, connection=redis)], connection=redis).register_birth()
    queue = ReportQueue(redis_url, 1)
    assert [worker_info.pid for worker_info in queue.workers()] == [os.getpid()]
    assert queue.connection().connection_pool.connection_kwargs["socket_timeout"] == module.TIMEOUT_SECONDS


def test_one_of_many_rate_limited_requests_waits_to_test_whether_redis_is_back(redis_url, monkeypatch):
    rates = RateLimit(redis_url)
    with hanging(redis_py.Redis.from_url(redis_url)):
        with monkeypatch.context() as patch:
            patch.setattr("app.redis.rate_limit.PAUSE_SECONDS", -1)
            rates.count("key", "a", 5)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: rates.count("key", "a", 5), range(800)))
        assert time.monotonic() - began < 2


def test_a_worker_that_waits_for_redis_ends_immediately_on_a_signal(services, redis_url, monkeypatch):
    """RQ's signal handler raises an error, which interrupted the pause before the next attempt."""

    def begin_and_fail(self: worker.ReportWorker, **options: object) -> None:
        self._install_signal_handlers()
        raise redis_py.ResponseError("MISCONF")

    monkeypatch.setattr(worker.ReportWorker, "work", begin_and_fail)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert not worker.work(services, redis_url)
        assert [signal.getsignal(number) for number in before] == [signal.SIG_DFL, signal.SIG_DFL]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TestForeignJobs:
    """Other programs may write jobs to a shared Redis. A worker runs only jobs of this service."""

    @pytest.fixture
    def plain_queue(self, redis_url) -> Queue:
        """The queue with RQ's own job class, which accepts every job."""
        return Queue(NAME, connection=redis_py.Redis.from_url(redis_url), serializer=JSONSerializer)

    @pytest.mark.parametrize(
        "job",
        [
            {"func": "os.system", "args": ("true",)},
            {"func": "app.jobs.serve"},
            {"func": WORK, "on_success": Callback("os.getpid")},
            {"func": WORK, "on_failure": Callback("os.getpid")},
            {"func": WORK, "on_stopped": Callback("os.getpid")},
            {"func": WORK, "webhooks": [Webhook("http://127.0.0.1:1/", "finished")]},
        ],
        ids=["a function", "ours, but no job", "success", "failure", "stopped", "webhook"],
    )
    def test_a_foreign_job_is_skipped_and_logged(self, plain_queue, job):
        plain_queue.enqueue_call(**job)
        with structlog.testing.capture_logs() as logs:
            assert dequeue(plain_queue) is None
        assert [entry["event"] for entry in logs] == ["a job in Redis was refused, as it is not the service's own"]
        assert plain_queue.get_job_ids() == []

    def test_an_unreadable_job_is_skipped(self, plain_queue):
        job = plain_queue.enqueue_call(WORK)
        plain_queue.connection.hset(job.key, "data", b"cos\nsystem\n(S'true'\ntR.")
        assert dequeue(plain_queue) is None

    def test_a_job_of_the_service_is_accepted(self, plain_queue):
        plain_queue.enqueue_call(HELP, args=("a job",))
        job, _ = dequeue(plain_queue)
        assert (job.func_name, job.args) == (HELP, ["a job"])


def dequeue(plain_queue: Queue) -> object:
    """Return the job that a worker dequeues."""
    report_queue = module.queue(plain_queue.connection)
    return Queue.dequeue_any(
        [report_queue], None, connection=plain_queue.connection, job_class=ReportJob, serializer=JSONSerializer
    )
