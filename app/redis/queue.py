"""Redis and the RQ queue of reports. The queue only wakes workers; the database is the source of truth.

There is a single queue because RQ's reliable dequeue loses a job if its worker, listening to two queues, dies at the
wrong moment (see docs/decisions.md). Targets are named by strings, so that producers need not import them.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004 - redis-py's class, which is not an OSError
)
from redis.exceptions import ConnectionError as NotConnected
from redis.retry import Retry
from rq import Queue, worker_registration
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import decode_redis_hash, utcparse

from app.exceptions import QueueUnavailable, SettingInvalid

NAME = "reports"
WORKER_PREFIX = "rq:worker:"  # prefix of the keys under which RQ stores its workers
SCHEDULER = "tally:scheduler"  # the key under which a scheduler stores its heartbeat
REQUESTS = "tally:requests"  # the hash with the counts of `RequestMetrics`
REMEMBERED_SECONDS = 7 * 86_400  # how long the last heartbeat of the scheduler is stored
KEPT_FORM = "tally:kept-form:"  # prefix of the keys of kept forms
PROBE = "tally:probe"  # the key that is written to check whether Redis accepts writes
WORK, HELP = "app.jobs.work", "app.jobs.help_with"
TIMEOUT_SECONDS = 1.5  # for connecting to Redis and for each reply; redis-py's defaults exceed four seconds
HANGS_SECONDS = 2.0  # how long this process does not use Redis after a timeout
PAUSE_SECONDS = 1.0  # between attempts to reach Redis
PROBLEMS: dict[type[RedisError], str] = {  # the first match applies, because redis-py's classes inherit from each other
    TimeoutError: "does not answer",
    BusyLoadingError: "is still loading its data",
    AuthenticationError: "refuses the user or the password",
    AuthorizationError: "refuses the user or the password",
    NotConnected: "cannot be reached",
    ReadOnlyError: "is read-only",
    OutOfMemoryError: "is out of memory",
    RedisError: "answers with an error",
}
FOREIGN = "Redis has somebody else's data under Tally's names, so it needs a database of its own in REDIS_URL"
GRACE_SECONDS = 60  # beyond the report's own limit, which the report enforces itself

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerSeen:
    """State of a worker according to Redis: milliseconds of its start and last heartbeat, calls finished and failed."""

    name: str
    host: str
    pid: int
    started_at: int
    heartbeat_at: int
    calls: int
    failed: int


class ReportJob(Job):
    """Job that calls one of this application's two functions.

    RQ would import and call any function that a job names, and every client of a shared Redis can write a job. A job
    that is not a plain call of these functions counts as missing, so RQ skips it wherever it reads jobs.
    """

    def restore(self, raw_data: dict[Any, Any]) -> None:
        """Read the job from its hash in Redis. Raise NoSuchJobError if it does not belong to this application."""
        if why := self._foreign(raw_data):
            log.error("a job in Redis was refused, as it is not the service's own", job=self.id, reason=why)
            raise NoSuchJobError(why)

    def _foreign(self, raw_data: dict[Any, Any]) -> str | None:
        try:
            super().restore(raw_data)
            if self.func_name not in (WORK, HELP) or self.instance:
                return f"It calls {str(self.func_name)[:100]}."
        except NoSuchJobError:
            raise
        except Exception as error:  # noqa: BLE001 - it may contain anything, and must not make a worker fail
            return f"It cannot be read: {type(error).__name__}."
        callbacks = (self._success_callback_name, self._failure_callback_name, self._stopped_callback_name)
        return "It calls back, or sends webhooks." if any(callbacks) or self.webhooks else None


class ReportQueue:
    """Queue of reports, each of which may run for `timeout` seconds.

    Methods raise QueueUnavailable if Redis is unavailable, except `enqueue` and `call_help`, which log it. After Redis
    times out, the queue does not use it for a moment, because a page sends several commands and would wait for each.

    Raises:
        SettingInvalid: redis-py does not understand the URL (`redis://…` or `unix://…`).
    """

    def __init__(self, url: str, timeout: int) -> None:
        try:
            connect(url).connection_pool.make_connection()
        except (ValueError, TypeError, AttributeError, RedisError):  # whose message may contain a part of a password
            raise SettingInvalid(
                "REDIS_URL: redis-py cannot read it. Write redis://user:password@host:6379/0 or "
                "unix:///path/redis.sock?db=0, and other parameters as ?name=value&name=value with redis-py's names."
            ) from None
        self._url = url
        self._timeout = timeout + GRACE_SECONDS
        self._connection: Redis | None = None
        self._hangs_until, self._hangs = 0.0, ""

    def connection(self) -> Redis:
        """Return this process's client, which connects with its first command and reconnects after a loss."""
        if self._connection is None:
            self._connection = connect(self._url)
        return self._connection

    def enqueue(self, job: str) -> bool:
        """Wake a worker for a waiting report. Return False if Redis is unavailable; cleanup then enqueues it later."""
        try:
            self._call(WORK, job)
        except QueueUnavailable as error:
            log.warning("report not enqueued, the scheduler will", report=job, reason=str(error))
            return False
        return True

    def call_help(self, job: str, times: int) -> None:
        """Ask up to `times` other workers to help with a report. It continues without them if Redis is unavailable."""
        try:
            with self._asking():
                workers = len(worker_registration.get_keys(queue=queue(self.connection())))
            for _ in range(min(times, workers - 1)):
                self._call(HELP, job, job)
        except QueueUnavailable as error:
            log.warning("nobody asked for help", report=job, reason=str(error))

    def _call(self, target: str, job: str, *args: str) -> None:
        """Enqueue a call under a unique id, because it may be queued while another for the same report is running."""
        with self._asking():
            queue(self.connection()).enqueue_call(
                target,
                args=args,
                job_id=f"{job}_{secrets.token_hex(4)}",
                timeout=self._timeout,
                result_ttl=0,
                failure_ttl=3600,
                description=f"report {job}",
            )

    def missing(self, jobs: Sequence[str]) -> list[str]:
        """Return which of these reports are not in the queue."""
        if not jobs:
            return []
        with self._asking():
            queued = {name.partition("_")[0] for name in queue(self.connection()).get_job_ids()}
        return [job for job in jobs if job not in queued]

    def workers(self) -> list[WorkerSeen]:
        """Return the workers, ordered by host and process."""
        # RQ's Worker.all is unsuitable, because it creates Worker objects, which raise this pool's timeout to minutes.
        with self._asking(), self.connection().pipeline(transaction=False) as pipeline:
            keys = sorted(worker_registration.get_keys(queue=queue(self.connection())))
            for key in keys:
                pipeline.hgetall(key)
            found = [decode_redis_hash(raw, decode_values=True) for raw in pipeline.execute()]
            seen = []
            for key, raw in zip(keys, found, strict=True):
                if heard := raw.get("last_heartbeat"):
                    failed = int(raw.get("failed_job_count") or 0)
                    one = WorkerSeen(
                        name=key.removeprefix(WORKER_PREFIX),
                        host=raw.get("hostname") or "",
                        pid=int(raw.get("pid") or 0),
                        started_at=_milliseconds(raw.get("birth") or heard),
                        heartbeat_at=_milliseconds(heard),
                        calls=int(raw.get("successful_job_count") or 0) + failed,
                        failed=failed,
                    )
                    seen.append(one)
        return sorted(seen, key=lambda one: (one.host, one.pid))

    def length(self) -> int:
        """Return how many calls wait for a worker."""
        with self._asking():
            return queue(self.connection()).count

    def server(self) -> str:
        """Return the name and version of the Redis server."""
        with self._asking():
            server = self.connection().info("server")
        name = server.get("server_name", "redis").capitalize()
        return f"{name} {server.get('valkey_version') or server['redis_version']}"

    def note_scheduler(self) -> None:
        """Record the scheduler's heartbeat; the latest of several schedulers counts."""
        with self._asking():
            self.connection().set(SCHEDULER, time.time(), ex=REMEMBERED_SECONDS)

    def scheduler_seen(self) -> float | None:
        """Return the last heartbeat of a scheduler in seconds since 1970, or None if there was none for a week."""
        with self._asking():
            seen = self.connection().get(SCHEDULER)
            return None if seen is None else float(seen)

    def add_times(self, times: Mapping[tuple[str, str, int], Sequence[float]]) -> None:
        """Add numbers of requests, by method, route and status, to the totals of all processes."""
        with self._asking(), self.connection().pipeline() as pipeline:
            for (verb, route, status), numbers in times.items():
                for place, number in enumerate(numbers):
                    if number:
                        pipeline.hincrbyfloat(REQUESTS, f"{verb} {status} {place} {route}", number)
            pipeline.execute()

    def times(self, length: int) -> dict[tuple[str, str, int], list[float]]:
        """Return the totals of all processes, each a list of `length` numbers."""
        with self._asking():
            found = decode_redis_hash(self.connection().hgetall(REQUESTS), decode_values=True)
            times: dict[tuple[str, str, int], list[float]] = {}
            for name, number in found.items():
                verb, status, place, route = name.split(" ", 3)
                times.setdefault((verb, route, int(status)), [0] * length)[int(place)] = float(number)
        return times

    def keep_form(self, key: str, content: bytes, seconds: int) -> None:
        """Store a form that was sent without a session."""
        with self._asking():
            self.connection().set(KEPT_FORM + key, content, ex=seconds)

    def kept_form(self, key: str) -> bytes | None:
        """Return a stored form, or None."""
        with self._asking():
            found = self.connection().get(KEPT_FORM + key)
            return found.encode() if isinstance(found, str) else found

    def remove_form(self, key: str) -> None:
        """Remove a stored form, if it exists."""
        with self._asking():
            self.connection().delete(KEPT_FORM + key)

    def ping(self) -> None:
        """Raise QueueUnavailable if Redis is unavailable or rejects writes, because it is a replica or full."""
        with self._asking():
            _probe(self.connection())

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if time.monotonic() < self._hangs_until:
            raise QueueUnavailable(self._hangs)
        try:
            yield
        except RedisError as error:
            why = _why(error)
            if isinstance(error, TimeoutError):
                self._hangs_until, self._hangs = time.monotonic() + HANGS_SECONDS, why
            raise QueueUnavailable(why) from error
        except (ValueError, LookupError) as error:  # not in the expected format, or not even text
            raise QueueUnavailable(f"{FOREIGN}: {error}.") from error


def queue(connection: Redis) -> Queue:
    """Return the queue, for both producers and workers."""
    return Queue(NAME, connection=connection, serializer=JSONSerializer, job_class=ReportJob)


def connect(
    url: str, answer_seconds: float | None = TIMEOUT_SECONDS, connect_seconds: float = TIMEOUT_SECONDS
) -> Redis:
    """Return a client without retries of its own. A worker waits for replies without a limit (None)."""
    return Redis.from_url(
        url, socket_connect_timeout=connect_seconds, socket_timeout=answer_seconds, retry=Retry(NoBackoff(), 0)
    )


def wait_until_there(url: str) -> None:
    """Wait until Redis accepts writes, because a worker that ended instead would be restarted repeatedly."""
    connection = connect(url)
    for attempt in itertools.count():
        try:
            _probe(connection)
            return
        except RedisError as error:
            if not attempt:
                log.warning("waiting for Redis", reason=_why(error))
            time.sleep(PAUSE_SECONDS)


def _probe(connection: Redis) -> None:
    connection.set(PROBE, 1, ex=60)


def _why(error: RedisError) -> str:
    what = next(what for kind, what in PROBLEMS.items() if isinstance(error, kind))
    return f"Redis {what}: {str(error).rstrip('.')}."


def _milliseconds(moment: str) -> int:
    return round(utcparse(moment).timestamp() * 1000)
