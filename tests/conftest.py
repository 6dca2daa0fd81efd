"""Fixtures: an application on each database with a real Valkey, and clients of it.

A test that requests `app`, or a fixture based on it, runs on SQLite and on PostgreSQL, unless the `database_url` of its
module explains why one is enough. Tests with further parameters, and those of rooms that do not depend on the database,
run on the two in turn, unless they are marked `both_databases`. Those marked `soak` are left out. SOAK=1 runs
everything on both, as does selecting a test by name.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from app import create_app
from app.config import Settings
from app.redis import rate_limit
from app.services.people import passwords
from app.store import database as store
from app.support.ttl_cache import TTLCache
from tests.support import backing_servers, compiled
from tests.support import s3 as s3_support
from tests.support.client import Client
from tests.support.emptied import Database
from tests.support.pace import SOAK
from tests.support.s3 import CREDENTIALS, S3
from tests.support.turns import ByService, in_order, is_of_its_database, tried_by_turns

PASSWORD = "correct horse"
RATE_LIMIT_SECONDS = rate_limit.TIMEOUT_SECONDS

MEMORY = Path("/dev/shm")  # a commit does not wait for a disk here; these tests kill processes, not the machine
MEMORY_BYTES = 6 * 1024**3  # maximum that a run needs


def pytest_configure() -> None:
    """Put temporary files into memory if there is space, because the suite commits some hundred thousand times."""
    gc.disable()  # until all tests are collected, because none of them is garbage
    is_roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    if is_roomy and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)  # pytest has asked for its folder already


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run tests on the databases in turn, in the order of `in_order`."""
    elsewhere = {item for item in items if not is_of_its_database(item)}
    config.hook.pytest_deselected(items=[item for item in items if item in elsewhere])
    items[:] = [item for item in items if item not in elsewhere]
    if not SOAK and not any("::" in argument for argument in config.args):  # tests selected by name all run
        long = {item for item in items if item.get_closest_marker("soak")}
        dropped = long | tried_by_turns([item for item in items if item not in long])
        config.hook.pytest_deselected(items=[item for item in items if item in dropped])
        items[:] = [item for item in items if item not in dropped]
    items[:] = in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByService:
    """Return the scheduler of a parallel run."""
    return ByService(config, log)


def pytest_collection_finish() -> None:
    """Collect garbage less often, and not among the tests, because that took more time than creating the
    applications.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
    gc.enable()


def pytest_sessionfinish() -> None:
    """Undo the freeze, because libraries check at the end for objects of theirs that are left."""
    gc.unfreeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the processor time of this process and of all that it has waited for, which PostgreSQL is not one of."""
    terminalreporter.write_line(f"processor time: {sum(os.times()[:4]):.0f} s")


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """Use Argon2 with its cheapest parameters, because at 100 ms a hash passwords would take half of the suite's
    time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "PasswordHasher", lambda: PasswordHasher.from_parameters(CHEAPEST))
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile routes and templates once, not for each test's application."""
    with pytest.MonkeyPatch.context() as patch:
        compiled.cache(patch)
        yield


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short path, because Unix sockets allow 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tally", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(short_folder: Path) -> Iterator[str]:
    with backing_servers.postgres(short_folder) as url:
        yield url


@pytest.fixture(scope="session")
def valkey_server(short_folder: Path) -> Iterator[str]:
    with backing_servers.valkey(short_folder) as url:
        yield url


@pytest.fixture(scope="session")
def valkey(valkey_server: str) -> redis_py.Redis:
    return redis_py.Redis.from_url(valkey_server)


@pytest.fixture
def redis_url(valkey_server: str, valkey: redis_py.Redis) -> str:
    valkey.flushall()
    return valkey_server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory) -> Path:
    """A migrated, empty SQLite database to copy."""
    path = tmp_path_factory.mktemp("template") / "events.db"
    store.open_database(f"sqlite:///{path}")
    store.upgrade()
    store.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.release()
    return path


@pytest.fixture(scope="session")
def postgres_database(postgres_server: str) -> Iterator[Database]:
    """A migrated PostgreSQL database."""
    url = backing_servers.make_database(postgres_server, "tally")
    store.open_database(url)
    store.upgrade()
    store.database.close_all()
    with Database(url) as database:
        yield database


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database."""
    shutil.copy(sqlite_template, tmp_path / "events.db")
    return f"sqlite:///{tmp_path / 'events.db'}"


@pytest.fixture
def postgres_url(postgres_database: Database) -> str:
    """A migrated, empty PostgreSQL database."""
    postgres_database.empty()
    return postgres_database.url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request) -> str:
    """Each database in turn. A module that needs only one has a fixture of this name."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def settings(request, tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """The settings of `app`; a test changes some by `@pytest.mark.settings(catalog_mode="strict")`."""
    marker = request.node.get_closest_marker("settings")
    given = {"data_dir": tmp_path / "var", "database_url": database_url, "redis_url": redis_url}
    if "s3" in request.fixturenames:
        given |= request.getfixturevalue("s3").settings
    given |= {"secret_key": "a secret for the tests", "public_url": "https://tally.example"}
    return Settings(**(given | (marker.kwargs if marker else {})))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with s3_support.server() as url:
        yield S3(url)


@pytest.fixture
def s3(s3_server: S3, monkeypatch) -> S3:
    """An S3 store with two empty buckets, for which this process has credentials; report files of `app` are in it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    s3_server.reset()
    return s3_server


@pytest.fixture
def app(settings: Settings, monkeypatch):
    monkeypatch.setattr("app.services.events.rejected.PAUSE_SECONDS", 0.005)
    monkeypatch.setattr("app.redis.rate_limit.TIMEOUT_SECONDS", 2.0)  # on a busy machine Redis answers late
    monkeypatch.setattr(
        "app.services.operations.request_metrics.RequestMetrics._start", lambda request_metrics: None
    )  # otherwise it would notify the next test's Redis
    application = create_app(settings)
    application.testing = False  # errors become responses, as in production
    yield application
    finish_database_threads()
    store.release()
    if hasattr(store.database.obj, "close_all"):
        store.database.close_all()


def finish_database_threads() -> None:
    """Let the threads end that use a connection of their own for a while: rejected events, uses of keys, timed calls.

    To close a connection that another thread uses is an error, and with libpq a segmentation fault.
    """
    for thread in threading.enumerate():
        if thread.name in ("rejected", "keys", "call"):
            thread.join(5)


@pytest.fixture
def uncached(monkeypatch) -> None:
    """Compute what pages cache each time they ask, as if their last view was long ago."""
    monkeypatch.setattr(TTLCache, "get", lambda cache, key, make: make())


@pytest.fixture
def services(app):
    return app.extensions["services"]


@pytest.fixture
def nobody(app) -> Client:
    """A client without credentials."""
    return Client(app, None)


@pytest.fixture
def admin(app, services) -> Client:
    services.accounts.add("admin", "admin", None, PASSWORD)
    return Client(app, ("admin", PASSWORD))


@pytest.fixture
def operator(app, services) -> Client:
    services.accounts.add("olga", "operator", None, PASSWORD)
    return Client(app, ("olga", PASSWORD))


@pytest.fixture
def analyst(app, services) -> Client:
    """An analyst of the customer BARCHART."""
    services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD)
    return Client(app, ("anna", PASSWORD))


@pytest.fixture
def sample_catalog(services) -> None:
    services.catalog.load_sample()
