"""The report worker: takes one report at a time from the one queue, each in a child process of its own.

Run as `python worker.py`; any number of them, on any machine that reaches the same database, Redis and storage.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder

import structlog
from redis.client import Pipeline
from rq import Queue, Worker, worker_registration
from rq.serializers import JSONSerializer

from app import create_app, jobs
from app.exceptions import SettingInvalid, StoreUnavailable
from app.ops import logs
from app.ops.lifeline import die_with_parent
from app.queue import NAME, connect, wait_until_there
from app.store.database import disconnect, forget_connections

TTL_SECONDS = 25  # a worker not heard from for so long is dead; RQ's default is seven minutes
CHECK_SECONDS = 5  # between looks at what dead workers left
UNUSED = ("numpy", "pandas")  # pyarrow loads them wherever they are installed: 50 MiB that no report has a use for

log = structlog.get_logger(__name__)


class ReportWorker(Worker):
    """RQ's forking worker, whose children open connections of their own, and which outlives a loss of Redis."""

    max_connection_wait_time = 5.0  # seconds between tries to reach Redis again; RQ's default is a minute

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Sign of life, and the worker's name: RQ tells it once, and a Redis that lost its data would never know it."""
        super().heartbeat(timeout, pipeline)
        worker_registration.register(self, pipeline)

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
    """Work until told to stop."""
    travel_light()
    app = create_app()
    app.config["SETTINGS"].secret()  # a key that cannot be read stops the start
    wait_until_there(app.config["SETTINGS"].redis)
    connection = connect(app.config["SETTINGS"].redis, answer_seconds=None)
    worker = ReportWorker(
        [Queue(NAME, connection=connection, serializer=JSONSerializer)],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=TTL_SECONDS,
        maintenance_interval=CHECK_SECONDS,
        job_monitoring_interval=CHECK_SECONDS,
    )
    worker.running = app.extensions["services"].running
    jobs.serve(app.extensions["services"], worker.name, is_stopping)
    worker.log_result_lifespan = False
    gc.collect()
    gc.freeze()  # children share it with this process: a collector that walks through it would copy every page
    worker.work(logging_level="WARNING", with_scheduler=False)


if __name__ == "__main__":
    try:
        main()
    except SettingInvalid as error:
        logs.exit_with(error)
