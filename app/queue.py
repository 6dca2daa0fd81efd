"""Redis and the one RQ queue: it wakes workers, and knows nothing that the database does not know better.

One queue only: RQ's reliable dequeue loses a job whose worker dies at the wrong moment as soon as a worker listens to
two (see docs/decisions.md). The target is named by string, so that who enqueues need not import what runs.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from app.exceptions import QueueUnavailable, SettingInvalid

NAME = "reports"
SCHEDULER = "tally:scheduler"  # the key under which a scheduler leaves its sign of life
REQUESTS = "tally:requests"  # the hash of what `Meter` counts
REMEMBERED_SECONDS = 7 * 86_400  # how long it is known when the last one fell silent
WORK, HELP = "app.jobs.work", "app.jobs.help_with"
SECONDS = 2.0  # to reach Redis, and for each answer: redis-py's defaults wait for more than four
PAUSE_SECONDS = 1.0  # between tries to reach it
GRACE_SECONDS = 60  # beyond the report's own limit, which the report keeps itself

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerSeen:
    """What Redis knows of a worker.

    Attributes:
        started, heard: milliseconds; when it was last heard from.
        calls: how many it has answered.
        failed: how many of them broke off.
    """

    name: str
    host: str
    pid: int
    started: int
    heard: int
    calls: int
    failed: int


class ReportQueue:
    """The queue of reports.

    Args:
        url: `redis://…` or `unix://…`.
        timeout: seconds that a report may run.

    Raises:
        SettingInvalid: the URL says something that redis-py does not understand.
    """

    def __init__(self, url: str, timeout: int) -> None:
        _check(url)
        self._url = url
        self._timeout = timeout + GRACE_SECONDS
        self._connection: Redis | None = None

    def connection(self) -> Redis:
        """A client of this process; it connects with its first command, and again after a loss."""
        if self._connection is None:
            self._connection = connect(self._url)
        return self._connection

    def enqueue(self, job: str) -> bool:
        """Wake a worker as a report waits; False where Redis is away, and the sweeper will do it later."""
        try:
            self._call(WORK, job)
        except QueueUnavailable as error:
            log.warning("report not enqueued, the sweeper will", report=job, reason=str(error))
            return False
        return True

    def call_help(self, job: str, times: int) -> None:
        """Ask so many workers to help with a report, if there are as many; where Redis is away, it goes on without."""
        try:
            for _ in range(min(times, self._workers() - 1)):
                self._call(HELP, job, job)
        except QueueUnavailable as error:
            log.warning("nobody asked for help", report=job, reason=str(error))

    def _call(self, target: str, job: str, *args: str) -> None:
        """Each call has an id of its own: one may be queued while another is being carried out."""
        with _translated():
            self._queue().enqueue_call(
                target,
                args=args,
                job_id=f"{job}_{secrets.token_hex(4)}",
                timeout=self._timeout,
                result_ttl=0,
                failure_ttl=3600,
                description=f"report {job}",
            )

    def missing(self, jobs: Sequence[str]) -> list[str]:
        """Which of these reports are not in the queue.

        Raises:
            QueueUnavailable: Redis is away.
        """
        if not jobs:
            return []
        with _translated():
            queued = {name.partition("_")[0] for name in self._queue().get_job_ids()}
        return [job for job in jobs if job not in queued]

    def workers(self) -> list[WorkerSeen]:
        """The workers there are, by host and process.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            found = Worker.all(queue=self._queue(), serializer=JSONSerializer)
        return sorted((_seen(worker) for worker in found if worker.last_heartbeat), key=lambda one: (one.host, one.pid))

    def length(self) -> int:
        """How many calls wait for a worker.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            return self._queue().count

    def server(self) -> str:
        """What Redis is, and its version.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            told = self.connection().info("server")
        name = told.get("server_name", "redis").capitalize()
        return f"{name} {told.get('valkey_version') or told['redis_version']}"

    def _workers(self) -> int:
        with _translated():
            return Worker.count(queue=self._queue())

    def heartbeats(self) -> list[float]:
        """When each worker was last heard from, in seconds since 1970.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            workers = Worker.all(queue=self._queue(), serializer=JSONSerializer)
        return [worker.last_heartbeat.timestamp() for worker in workers if worker.last_heartbeat]

    def note_scheduler(self) -> None:
        """Leave a scheduler's sign of life; of several, the last one's counts.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            self.connection().set(SCHEDULER, time.time(), ex=REMEMBERED_SECONDS)

    def scheduler_seen(self) -> float | None:
        """When a scheduler was last heard from, in seconds since 1970; None: not for long, or ever.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            seen = self.connection().get(SCHEDULER)
        return None if seen is None else float(seen)

    def add_times(self, times: Mapping[tuple[str, str, int], Sequence[float]]) -> None:
        """Add numbers of requests, by verb, route and status, to those of all processes.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated(), self.connection().pipeline() as pipeline:
            for (verb, route, status), numbers in times.items():
                for place, number in enumerate(numbers):
                    if number:
                        pipeline.hincrbyfloat(REQUESTS, f"{verb} {status} {place} {route}", number)
            pipeline.execute()

    def times(self, length: int) -> dict[tuple[str, str, int], list[float]]:
        """The numbers of all processes, each of so many.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with _translated():
            found = self.connection().hgetall(REQUESTS)
        times: dict[tuple[str, str, int], list[float]] = {}
        for name, number in found.items():
            verb, status, place, route = name.decode().split(" ", 3)
            times.setdefault((verb, route, int(status)), [0] * length)[int(place)] = float(number)
        return times

    def ping(self) -> None:
        """Raise QueueUnavailable where Redis is away."""
        with _translated():
            self.connection().ping()

    def _queue(self) -> Queue:
        return Queue(NAME, connection=self.connection(), serializer=JSONSerializer)


def connect(url: str, answer_seconds: float | None = SECONDS, connect_seconds: float = SECONDS) -> Redis:
    """A client with time-outs and no retries of its own.

    Args:
        answer_seconds: None for a worker, which waits for work as long as it takes.
    """
    return Redis.from_url(
        url, socket_connect_timeout=connect_seconds, socket_timeout=answer_seconds, retry=Retry(NoBackoff(), 0)
    )


def _check(url: str) -> None:
    """Have redis-py read a URL. What it says of a wrong one may be part of a password."""
    try:
        connect(url).connection_pool.make_connection()
    except (ValueError, TypeError, AttributeError, RedisError):
        raise SettingInvalid(
            "REDIS_URL: redis-py cannot read it. Write redis://user:password@host:6379/0 or "
            "unix:///path/redis.sock?db=0, and other parameters as ?name=value&name=value with redis-py's names."
        ) from None


def wait_until_there(url: str) -> None:
    """Return as soon as Redis answers. A worker that ended instead would only be started again and again."""
    connection = connect(url)
    for attempt in itertools.count():
        try:
            connection.ping()
            return
        except RedisError as error:
            if not attempt:
                log.warning("waiting for Redis", reason=str(error))
            time.sleep(PAUSE_SECONDS)


def _seen(worker: Worker) -> WorkerSeen:
    started = worker.birth_date or worker.last_heartbeat
    return WorkerSeen(
        worker.name,
        worker.hostname or "",
        worker.pid or 0,
        round(started.timestamp() * 1000),
        round(worker.last_heartbeat.timestamp() * 1000),
        worker.successful_job_count + worker.failed_job_count,
        worker.failed_job_count,
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable(f"Redis cannot be reached: {str(error).rstrip('.')}.") from error
