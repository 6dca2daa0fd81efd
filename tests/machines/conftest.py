"""The service on five machines, which share PostgreSQL, Valkey and an S3 store, behind the nginx of deploy/nginx.conf.

The short form has reports a hundredth as long, which are written slowly so that they can be interrupted, and shorter
intervals after which the service notices a lost machine. Its programs start without the checks of `tally`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import pytest

from app.store import database as store
from tests.faults.conftest import Postgres
from tests.faults.reporting import slow_worker
from tests.machines.network import TALLY, Machine, Network
from tests.support import backing_servers, forked, nginx
from tests.support import s3 as s3_support
from tests.support.pace import SOAK, times
from tests.support.running import ROOT, START_SECONDS, free_port, wait_until
from tests.support.s3 import S3

PASSWORD = "correct horse battery"
PORT = 8000  # on each machine
PART_ROWS = times(10_000, 1_000_000)

WORKER = slow_worker("runner.SILENT_MS = 4_000", 0.5, PART_ROWS, PART_ROWS * 5 // 4)
SCHEDULER = """
from app import scheduler as program
from app.services.operations import scheduler
from app.services.reports import cleanup
scheduler.SWEEP_SECONDS = scheduler.SCHEDULE_SECONDS = 1
cleanup.SILENT_MS = cleanup.YOUNG_MS = 4_000
program.main()
"""
# What `tally web` and `tally worker` do after their checks, for which they would load the whole application twice.
PROGRAM = """
import sys
from app.config import Settings
from app.ops import standalone
standalone.execute(standalone.prepare(Settings.from_environment(), sys.argv[1]), sys.argv[1])
"""


class PostgresOnNetwork(Postgres):
    """A server that the machines of a network reach."""

    def __init__(self, folder: Path, hub: str) -> None:
        super().__init__(folder)
        self.options, port = f"-h {hub}", free_port()
        with (folder / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {hub}/24 trust\n")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET port = {port}")
        self.stop()
        self.start()
        self.url = f"postgresql://postgres@{hub}:{port}/tally"


class Site:
    """The machines, and what they share.

    Attributes:
        web: the machines with a web server each.
        workers: the machines with a worker each.
        schedulers: a machine of each kind, which has a scheduler besides.
        port: nginx's.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.network = Network(folder, stack)
        hub, valkey = self.network.hub, free_port()
        self.postgres = PostgresOnNetwork(folder / "pg", hub)
        stack.callback(self.postgres.stop)
        self.redis_url = stack.enter_context(backing_servers.valkey(folder, "a password", hub, valkey))
        self.s3 = S3(stack.enter_context(s3_support.server(hub)))
        self.s3.reset()
        self.port = free_port()
        self.settings = self.s3.environment | {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": "a secret for the tests",
            "ADMIN_PASSWORD": PASSWORD,
            "PUBLIC_URL": self.url,
            "PORT": str(PORT),
            "WEB_PROCESSES": "1",
            "REPORT_SHARD_ROWS": str(PART_ROWS),
            "REPORT_TIMEOUT_SECONDS": "3600",
        }
        self._slow = folder / "slow"
        self._slow.mkdir()
        (self._slow / "worker.py").write_text(WORKER)
        self.web = [self.network.machine() for _ in range(2)]
        self.workers = [self.network.machine() for _ in range(3)]
        self.schedulers = [self.web[0], self.workers[0]]
        environment = self.settings | {"PATH": os.environ["PATH"], "DATA_DIR": str(self.web[0].folder / "var")}
        prepared = forked.tally("bootstrap", folder=self.web[0].folder, environment=environment)
        assert prepared.returncode == 0, prepared.stderr
        for machine in (*self.web, *self.workers):
            self.start(machine)
        self.until_all_serve()
        addresses = [f"{machine.address}:{PORT}" for machine in self.web]
        configuration = nginx.configuration(folder, self.port, *addresses, folder)
        stack.enter_context(nginx.serving(folder, configuration, "127.0.0.1", self.port))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, machine: Machine) -> None:
        """Start what a machine has."""
        if machine in self.web:
            machine.run("web", self.settings, TALLY if SOAK else PROGRAM)
        else:
            path = str(ROOT) if SOAK else f"{self._slow}:{ROOT}"
            machine.run("worker", self.settings | {"PYTHONPATH": path}, TALLY if SOAK else PROGRAM)
        if machine in self.schedulers:
            machine.run("scheduler", self.settings, TALLY if SOAK else SCHEDULER)

    def until_all_serve(self) -> None:
        """Wait until each web server responds."""
        for machine in self.web:
            wait_until(lambda one=machine: _responds(one), START_SECONDS)

    def query(self, query: str) -> list[tuple]:
        """Return the rows of a query."""
        with psycopg.connect(self.postgres.url) as connection:
            return connection.execute(query).fetchall()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the database in this process."""
        store.open_database(self.postgres.url)
        try:
            yield
        finally:
            store.release()
            store.database.close_all()


def _responds(machine: Machine) -> bool:
    try:
        with urlopen(f"http://{machine.address}:{PORT}/health/live", timeout=5):
            return True
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def site(short_folder: Path) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(Path(tempfile.mkdtemp(dir=short_folder)), stack)
