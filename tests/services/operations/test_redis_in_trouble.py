"""Redis that answers with errors, or hangs: events and pages go on at once, and reports run afterwards."""

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
from app.redis.queue import HELP, NAME, WORK, ReportJob, ReportQueue
from app.redis.rate_limit import RateLimit
from tests.admin.conftest import Visitor
from tests.support.client import event
from tests.support.running import wait_until

PAGE_SECONDS = 3


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What Redis does is the same on either database."""
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


def test_events_and_pages_go_on_at_once_and_reports_run_afterwards(app, services, operator, trouble):
    visitor = Visitor(app).sign_in("olga")
    operator.send(event())
    assert visitor.get("/admin/").status_code == 200
    services.health._glances._values.clear()  # as two seconds later
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
        services.scheduler.run_all()  # nothing of it raises
    wait_until(lambda: is_well(services), 10)
    services.scheduler.run_all()
    assert services.reports.queue.missing([job["job"]]) == []


def is_well(services) -> bool:
    services.health._queue._hangs_until = 0
    return services.health.redis().problem is None


def test_a_database_that_redis_does_not_have_is_named(redis_url):
    queue = ReportQueue(redis_url.replace("db=0", "db=99"), 1)
    with pytest.raises(QueueUnavailable, match="DB index is out of range"):
        queue.ping()


def test_data_that_is_not_ours_is_named_and_breaks_no_page(app, services, operator, redis_url):
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
    assert not [one for one in logs if one["event"] == "periodic task failed"]


def test_a_redis_that_hangs_is_waited_for_once(redis_url):
    queue = ReportQueue(redis_url, 1)
    queue.ping()
    with hanging(redis_py.Redis.from_url(redis_url)):
        began = time.monotonic()
        for ask in (queue.workers, queue.length, queue.server, queue.scheduler_seen, queue.ping):
            with pytest.raises(QueueUnavailable, match="Redis does not answer: Timeout reading"):
                ask()
        assert time.monotonic() - began < 2 * module.TIMEOUT_SECONDS


def test_asking_for_workers_leaves_the_time_out_as_it_is(redis_url):
    redis = redis_py.Redis.from_url(redis_url)
    Worker([Queue(NAME, connection=redis)], connection=redis).register_birth()
    queue = ReportQueue(redis_url, 1)
    assert [one.pid for one in queue.workers()] == [os.getpid()]
    assert queue.connection().connection_pool.connection_kwargs["socket_timeout"] == module.TIMEOUT_SECONDS


def test_of_all_who_are_counted_one_waits_to_see_whether_redis_is_back(redis_url, monkeypatch):
    rates = RateLimit(redis_url)
    with hanging(redis_py.Redis.from_url(redis_url)):
        rates.count("key", "a", 5)
        monkeypatch.setattr(rates, "_away_until", time.monotonic() - 1)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: rates.count("key", "a", 5), range(800)))
        assert time.monotonic() - began < 2


def test_a_worker_that_waits_for_redis_ends_at_once_by_a_signal(services, redis_url, monkeypatch):
    """RQ's handler raises an error in whatever runs, which was the pause until the next try."""

    def begin_and_fail(self: worker.ReportWorker, **how: object) -> None:
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


class TestJobsOfOthers:
    """Whoever may write to a shared Redis can put a job there; a worker carries out the service's own alone."""

    @pytest.fixture
    def plain(self, redis_url) -> Queue:
        """The queue as RQ itself has it, which takes everything."""
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
    def test_a_job_that_is_not_ours_is_passed_over_and_logged(self, plain, job):
        plain.enqueue_call(**job)
        with structlog.testing.capture_logs() as logs:
            assert taken(plain) is None
        assert [one["event"] for one in logs] == ["a job in Redis was refused, as it is not the service's own"]
        assert plain.get_job_ids() == []

    def test_what_cannot_be_read_is_passed_over(self, plain):
        job = plain.enqueue_call(WORK)
        plain.connection.hset(job.key, "data", b"cos\nsystem\n(S'true'\ntR.")
        assert taken(plain) is None

    def test_a_job_that_is_ours_is_taken(self, plain):
        plain.enqueue_call(HELP, args=("a job",))
        job, _ = taken(plain)
        assert (job.func_name, job.args) == (HELP, ["a job"])


def taken(plain: Queue) -> object:
    """What a worker gets out of the queue."""
    ours = module.queue(plain.connection)
    return Queue.dequeue_any([ours], None, connection=plain.connection, job_class=ReportJob, serializer=JSONSerializer)
