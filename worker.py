"""The report worker: takes one report at a time from the one queue, each in a child process of its own.

Run as `python worker.py`; any number of them, on any machine that reaches the same database, Redis and storage.
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
from rq import Worker, worker_registration
from rq.serializers import JSONSerializer

from app import create_app, jobs
from app.exceptions import SettingInvalid, StoreUnavailable
from app.ops import logs
from app.ops.die_with_parent import die_with_parent
from app.redis.queue import ReportJob, connect, queue, wait_until_there
from app.services import Services
from app.store.database import disconnect, forget_connections

TTL_SECONDS = 25  # a worker not heard from for so long is dead; RQ's default is seven minutes
CHECK_SECONDS = 5  # between looks at what dead workers left
AGAIN_SECONDS = 5.0  # pause before restarting a worker that Redis caused to end
UNUSED = ("numpy", "pandas")  # pyarrow loads them wherever they are installed: 50 MiB that no report has a use for

log = structlog.get_logger(__name__)


class ReportWorker(Worker):
    """RQ's forking worker, whose children open connections of their own, and which outlives a loss of Redis."""

    max_connection_wait_time = 5.0  # seconds between tries to reach Redis again; RQ's default is a minute
    is_ending = False  # by SIGTERM or Ctrl-C

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Sign of life, and the worker's name: RQ tells it once, and a Redis that lost its data would never know it."""
        with self._whatever_redis_says():
            super().heartbeat(timeout, pipeline)
            worker_registration.register(self, pipeline)

    def maintain_heartbeats(self, *args: object) -> None:
        """Do the same for the call that a child process runs."""
        with self._whatever_redis_says():
            super().maintain_heartbeats(*args)

    def set_shutdown_requested_date(self) -> None:
        """Record that this worker must end."""
        with self._whatever_redis_says():
            super().set_shutdown_requested_date()

    @contextmanager
    def _whatever_redis_says(self) -> Iterator[None]:
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
        """A child died, of a lack of memory perhaps: what it was at goes on at once, with whoever is free."""
        try:
            self.running.worker_died(self.name)
        except StoreUnavailable:  # the sweeper will find out
            log.warning("a child died, and the database is away", worker=self.name)
        finally:
            disconnect()  # the next child must not find a connection that is ours

    def handle_warm_shutdown_request(self) -> None:
        """SIGTERM, or Ctrl-C: the child hands back the report that it is at, before it would be killed."""
        self.is_ending = True
        if self.horse_pid:
            with suppress(ProcessLookupError):  # it ends at this moment
                os.kill(self.horse_pid, signal.SIGTERM)

    def fork_work_horse(self, *args: object) -> None:
        """Start a child; where it is to end already, as the signal came just now, tell it so."""
        super().fork_work_horse(*args)
        if self._stop_requested:
            self.handle_warm_shutdown_request()

    def setup_work_horse_signals(self) -> None:
        """A child never ends by SIGTERM: the signal stays pending until `is_stopping` is asked.

        A handler would have to wait until the statement is through that this thread is at.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if self._stop_requested:  # it came in the moment of the fork
            os.kill(os.getpid(), signal.SIGTERM)

    def main_work_horse(self, *args: object, **kwargs: object) -> None:
        """The child's life: it ends with its parent, and uses nothing that was opened before the fork."""
        die_with_parent()
        forget_connections()
        super().main_work_horse(*args, **kwargs)


def is_stopping() -> bool:
    """Whether this child is to end."""
    return signal.SIGTERM in signal.sigpending()


class Unused(MetaPathFinder):
    """Libraries that are not to be found. None in `sys.modules` would do for pyarrow, but psycopg stumbles over it."""

    def find_spec(self, name: str, *where: object) -> None:
        """Let the others look for what this one does not hide."""
        if name in UNUSED:
            raise ModuleNotFoundError(f"{name} is not for workers", name=name)


def travel_light() -> None:
    """Let this process, and its children, go without what no report needs."""
    sys.meta_path.insert(0, Unused())


def main() -> None:
    """Work until a signal stops the worker, regardless of the state of Redis."""
    travel_light()
    app = create_app()
    app.config["SETTINGS"].secret()  # an unreadable key must prevent the start
    gc.collect()
    gc.freeze()  # children share it with this process: a collector that walks through it would copy every page
    while not work(app.extensions["services"], app.config["SETTINGS"].redis):
        time.sleep(AGAIN_SECONDS)


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
        worker.running = services.runner
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
