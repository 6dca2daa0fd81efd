"""Report worker: claims one report at a time from the queue, and writes each in its own child process.

Run it as `python worker.py`, in any number, on any machine that reaches the same database, Redis and storage.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder

import structlog
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, Worker, worker_registration
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from app import jobs
from app.config import Settings
from app.exceptions import SettingInvalid, StoreUnavailable
from app.ops import logs
from app.ops.die_with_parent import die_with_parent
from app.redis.queue import ReportJob, connect, queue, wait_until_there
from app.services import Services, start
from app.services.reports.runner import Runner
from app.store.database import disconnect, forget_connections

TTL_SECONDS = 25  # a worker without a heartbeat for this time is dead; RQ's default is seven minutes
CHECK_SECONDS = 5  # between checks for what dead workers left
RESTART_SECONDS = 5.0  # pause before restarting a worker that Redis caused to end
UNUSED = ("numpy", "pandas")  # pyarrow imports them if they are installed, which takes 50 MiB that no report needs

log = structlog.get_logger(__name__)


class ReportWorker(Worker):
    """RQ's forking worker, whose children open their own connections, and which survives a loss of Redis."""

    runner: Runner
    max_connection_wait_time = 5.0  # between attempts to reach Redis again; RQ's default is a minute
    is_ending = False  # set by SIGTERM or Ctrl-C

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Send a heartbeat and register the name again, because RQ does that once and a Redis may lose its data."""
        with self._despite_redis_errors():
            super().heartbeat(timeout, pipeline)
            worker_registration.register(self, pipeline)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Send the heartbeat of the job that a child process runs."""
        with self._despite_redis_errors():
            super().maintain_heartbeats(job, execution)

    def set_shutdown_requested_date(self) -> None:
        """Record that this worker must end."""
        with self._despite_redis_errors():
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]  # RQ does not annotate it

    @contextmanager
    def _despite_redis_errors(self) -> Iterator[None]:
        """Continue despite Redis errors while a child writes a report, which does not need Redis."""
        try:
            yield
        except RedisError as error:
            if not self.horse_pid:
                raise
            log.warning("a sign of life did not reach Redis", worker=self.name, reason=str(error))

    def subscribe(self) -> None:
        """Accept no commands through Redis, because none are sent and other clients of Redis could kill jobs."""

    def unsubscribe(self) -> None:
        """See `subscribe`."""

    def handle_work_horse_killed(self, *args: object) -> None:
        """Release the report of a child that died, for example out of memory, so that a free worker continues it."""
        try:
            self.runner.worker_died(self.name)
        except StoreUnavailable:  # cleanup will detect it
            log.warning("a child died, and the database is away", worker=self.name)
        finally:
            disconnect()  # the next child must not inherit this process's connection

    def handle_warm_shutdown_request(self) -> None:
        """On SIGTERM or Ctrl-C, make the child return its report to the queue before it would be killed."""
        self.is_ending = True
        if self.horse_pid:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.horse_pid, signal.SIGTERM)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Start a child, and signal it to end if the worker's own signal has just arrived."""
        super().fork_work_horse(job, queue)
        if self._stop_requested:
            self.handle_warm_shutdown_request()

    def setup_work_horse_signals(self) -> None:
        """Block SIGTERM in the child, so that it stays pending until `is_stopping` is called.

        A handler would have to wait until this thread's current statement has finished.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if self._stop_requested:  # the signal arrived during the fork
            os.kill(os.getpid(), signal.SIGTERM)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run the child, which ends with its parent and uses no connection opened before the fork."""
        die_with_parent()
        forget_connections()
        super().main_work_horse(job, queue)


def is_stopping() -> bool:
    """Return whether this child must end."""
    return signal.SIGTERM in signal.sigpending()


class UnusedLibraries(MetaPathFinder):
    """Finder that hides libraries. None in `sys.modules` would suffice for pyarrow, but breaks psycopg."""

    def find_spec(self, name: str, *where: object) -> None:
        """Raise ModuleNotFoundError for a hidden library, and leave others to the next finder."""
        if name in UNUSED:
            raise ModuleNotFoundError(f"{name} is not for workers", name=name)


def main() -> None:
    """Work until a signal stops the worker, regardless of the state of Redis."""
    sys.meta_path.insert(0, UnusedLibraries())
    settings = Settings.from_environment()
    logs.configure(settings.log_format)
    services = start(settings)
    settings.secret()  # an unreadable key must prevent the start
    gc.collect()
    gc.freeze()  # children share these objects; a garbage collection that visits them would copy every page
    while not work(services, settings.redis):
        time.sleep(RESTART_SECONDS)


def work(services: Services, url: str) -> bool:
    """Work until a signal (return True), or until Redis ends it as a replica, full or hanging (False)."""
    wait_until_there(url)
    connection = connect(url, answer_seconds=None)
    worker = None
    try:
        worker = ReportWorker(
            [queue(connection)],
            connection=connection,
            serializer=JSONSerializer,
            job_class=ReportJob,
            worker_ttl=TTL_SECONDS,
            maintenance_interval=CHECK_SECONDS,
            job_monitoring_interval=CHECK_SECONDS,
        )
        worker.runner = services.runner
        worker.log_result_lifespan = False
        jobs.serve(services, worker.name, is_stopping)
        worker.work(logging_level="WARNING", with_scheduler=False)
    except RedisError as error:
        log.warning("the worker could not go on, and begins again", reason=str(error))
    finally:
        # The handlers of an RQ worker that has ended would wait for Redis, or interrupt the pause with a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        connection.close()
    return worker is not None and worker.is_ending


if __name__ == "__main__":
    try:
        main()
    except SettingInvalid as error:
        logs.exit_with(error)
