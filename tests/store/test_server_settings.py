"""Settings of a PostgreSQL server, database or role change no text and no promise, or are rejected by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from app import create_app
from app.exceptions import DatabaseUnsuitable, StoreUnavailable
from app.store import database as store
from app.store.backends import postgres
from tests.conftest import PASSWORD
from tests.support.client import Client, event

ROLE = "visitor"

# Settings of the role, each with a value other than the service needs.
ODD = {
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "synchronous_commit": "off",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "bytea_output": "escape",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "extra_float_digits": "-15",
    "idle_session_timeout": "1h",
    "row_security": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
}


@pytest.fixture
def role(postgres_url: str) -> Iterator[Callable[..., str]]:
    """Return a function that creates a role with the given settings, and returns the database's URL for it."""

    def make(*, may_write: bool = True, **settings: str) -> str:
        owner = connection.info.user
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(ROLE)))
        if may_write:
            connection.execute(SQL("GRANT {} TO {}").format(Identifier(owner), Identifier(ROLE)))
        for name, value in settings.items():
            connection.execute(
                SQL("ALTER ROLE {} SET {} = {}").format(Identifier(ROLE), Identifier(name), Literal(value))
            )
        return postgres_url.replace(f"//{owner}", f"//{ROLE}", 1)

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {ROLE}")
        yield make
        store.release()
        store.database.close_all()
        connection.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def as_role(settings, role) -> Callable[..., Client]:
    """Return a function that returns an administrator's client of an application that uses such a role."""

    def make(**role_settings: object) -> Client:
        app = create_app(settings)
        app.extensions["services"].accounts.add("admin", "admin", None, PASSWORD)
        Client(app, None).send(event())
        store.release()
        store.database.close_all()
        return Client(create_app(replace(settings, database_url=role(**role_settings))), ("admin", PASSWORD))

    return make


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Use PostgreSQL, because these are its settings."""
    return postgres_url


def session(name: str) -> str:
    return store.database.execute_sql(f"SHOW {name}").fetchone()[0]


@pytest.mark.parametrize("encoding", ["WIN1252", "LATIN1", "SQL_ASCII"])
def test_a_database_with_another_encoding_is_rejected(postgres_server, tmp_path, encoding):
    name = f"in_{encoding.lower()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    store.open_database(postgres_server.replace("/postgres?", f"/{name}?"))
    with pytest.raises(DatabaseUnsuitable, match=f"^DATABASE_URL: the database's encoding is {encoding}, .+UTF8"):
        store.upgrade()
    assert not store.database.obj._in_use
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}")


def test_a_server_that_is_too_old_is_rejected(postgres_url, monkeypatch):
    monkeypatch.setattr(postgres, "OLDEST", 99)  # as if a later version were required
    store.open_database(postgres_url)
    with pytest.raises(DatabaseUnsuitable, match=r"the server is PostgreSQL \d\d, and Tally needs 99"):
        store.pending()


def test_texts_times_and_bytes_are_returned_unchanged_despite_the_role_s_settings(as_role, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "WIN1252")
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    admin = as_role(**ODD)
    texts = ["Zürich", "\\ 🐟 ' \" |", None, ""]
    sent = event(customer="Zürich", context=texts)
    first = admin.post("/events", {"events": [sent]}, headers={"Idempotency-Key": "one"})
    again = admin.post("/events", {"events": [sent]}, headers={"Idempotency-Key": "one"})
    assert (first.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    admin.send(sent)
    assert first.get_json() == again.get_json()
    found = admin.get("/events?customer=Z%C3%BCrich").get_json()["events"]
    assert [(one["customer"], one["context"]) for one in found] == [("Zürich", texts)] * 2
    job, file = admin.run_report(customer="Zürich")
    assert job["status"] == "COMPLETE"
    assert file.decode().count("|Zürich|") == 2
    assert admin.get("/health/ready").get_json()["checks"]["database"] == "ok"
    assert session("synchronous_commit") == "on"
    assert session("default_transaction_isolation") == "read committed"


def test_an_encoding_in_the_url_has_no_effect(settings, postgres_url):
    store.open_database(f"{postgres_url}&client_encoding=LATIN1")
    assert session("client_encoding") == "UTF8"


def test_a_stronger_commit_than_required_is_left_unchanged(role):
    store.open_database(role(synchronous_commit="remote_apply"))
    assert session("synchronous_commit") == "remote_apply"


def test_a_report_is_not_ended_by_the_time_limits_of_a_role(role):
    limits = {"statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout", "lock_timeout"}
    store.open_database(role(**dict.fromkeys(limits, "10min")))
    assert {session(name) for name in limits} == {"10min"}
    shown = ", ".join(f"current_setting('{name}')" for name in sorted(limits))
    with store.database.many_rows():
        assert store.database.execute_sql(f"SELECT {shown}").fetchone() == ("0",) * 4
    assert list(store.database.stream(f"SELECT {shown}", [])) == [("0",) * 4]
    blocks = store.database.csv_blocks(f"SELECT {shown}", [], "|", picked=True)
    assert [lines for lines, _ in blocks] == [b"0|0|0|0\n"]
    assert {session(name) for name in limits} == {"10min"}  # the operator's limits still apply to pages and events


MANY = ", ".join(f"current_setting('{name}')" for name in ("jit", "work_mem", "random_page_cost"))


@pytest.mark.parametrize(
    ("picked", "set_before", "expected"),
    [
        (True, {}, "off|64MB|1.1\n"),  # pages out of order matter little for a part
        (False, {}, "off|64MB|4\n"),
        (
            True,
            {"work_mem": "'256MB'", "random_page_cost": "2"},
            "off|256MB|2\n",
        ),  # the operator's values remain
    ],
)
def test_many_rows_are_read_without_jit_and_with_memory_to_sort(app, picked, set_before, expected):
    for name, value in set_before.items():
        store.database.execute_sql(f"SET {name} = {value}")
    before = store.database.execute_sql(f"SELECT {MANY}").fetchone()
    blocks = store.database.csv_blocks(f"SELECT {MANY}", [], "|", picked=picked)
    assert b"".join(data for data, _ in blocks).decode() == expected
    with store.database.many_rows():
        assert "|".join(store.database.execute_sql(f"SELECT {MANY}").fetchone()[:2]) == expected.rpartition("|")[0]
    assert store.database.execute_sql(f"SELECT {MANY}").fetchone() == before


def test_a_lifted_limit_does_not_end_a_statement_of_the_same_message(role):
    store.open_database(role())
    store.database.execute_sql("SET statement_timeout = '500ms'")
    assert list(store.database.csv_blocks("SELECT pg_sleep(0.6)", [], "|", picked=False)) == [(b'""\n', 1)]
    with pytest.raises(StoreUnavailable, match="canceling statement due to statement timeout"):
        store.database.execute_sql("SELECT pg_sleep(10)")


@pytest.mark.settings(report_attempts=1)
def test_a_report_that_the_database_cancels_fails_with_the_reason(as_role, monkeypatch):
    admin = as_role()
    begun = postgres.MANY_ROWS
    monkeypatch.setattr(postgres, "MANY_ROWS", f"{begun}; SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)")
    source = admin.start_report()["source"]
    admin.app.extensions["services"].runner.work("here")
    assert admin.availability(source)["status"] == "FAILED"
    text = admin.get(f"/reports/{source}", headers={"Accept": "text/csv"}).get_data(as_text=True)
    assert "canceling statement due to user request" in text


def rejected_writes(admin: Client) -> list[tuple[int, str]]:
    """Return the statuses and bodies of requests that write, and of the readiness check."""
    answers = [
        admin.post("/events", {"events": [event()]}),
        admin.post("/events", {"events": [event()]}, headers={"Idempotency-Key": "one"}),
        admin.post("/reports", {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}),
        admin.get("/health/ready"),
    ]
    return [(answer.status_code, answer.get_data(as_text=True)) for answer in answers]


@pytest.mark.settings(ingest_wait_seconds=0.2)
@pytest.mark.parametrize(
    ("role_settings", "words"),
    [
        ({"default_transaction_read_only": "on"}, "The database is read-only"),
        ({"may_write": False}, "refuses this user"),
        ({"search_path": "nowhere"}, "check the search_path"),
    ],
    ids=["read-only", "no privileges", "no schema"],
)
def test_a_database_that_cannot_be_written_is_answered_503_with_the_reason(as_role, role_settings, words):
    admin = as_role(**role_settings)
    answers = rejected_writes(admin)
    assert [status for status, _ in answers] == [503] * 4
    assert [words in text for _, text in answers] == [True] * 3 + ["search_path" not in role_settings]
    assert admin.get("/events").status_code == (200 if "default_transaction_read_only" in role_settings else 503)


@pytest.mark.settings(spool=True)
def test_events_for_a_read_only_database_are_spooled_and_delivered_once(as_role, postgres_url):
    admin = as_role(default_transaction_read_only="on")
    admin.send(event())
    services = admin.app.extensions["services"]
    assert (services.spool.waiting(), services.ingest.count()) == (1, 1)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {ROLE} RESET default_transaction_read_only")
    store.release()
    store.database.close_all()
    services.spool.release()
    services.scheduler.run_all()
    assert (services.spool.waiting(), services.ingest.count()) == (0, 2)


def test_the_upgrade_reports_a_schema_without_the_privilege_to_create(role):
    store.open_database(role(may_write=False, search_path="nowhere"))
    with pytest.raises(StoreUnavailable, match="check the search_path"):
        store.upgrade()


def test_a_role_at_its_connection_limit_is_reported(role):
    url = role()
    with psycopg.connect(url.replace(f"//{ROLE}", "//postgres"), autocommit=True) as connection:
        connection.execute(f"REVOKE {connection.info.user} FROM {ROLE}")
        connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    store.open_database(url)
    with pytest.raises(StoreUnavailable, match="too many connections"):
        store.pending()


# State of a session that outlives transactions, except settings of the driver that only identify the client.
SESSION_STATE = """
    SELECT name FROM pg_prepared_statements UNION ALL SELECT name FROM pg_cursors
    UNION ALL SELECT relname FROM pg_class WHERE relpersistence = 't'
    UNION ALL SELECT locktype FROM pg_locks WHERE locktype = 'advisory'
    UNION ALL SELECT name FROM pg_settings WHERE source = 'session'"""


def test_no_session_state_that_a_pooler_would_lose_outlives_a_transaction(app, admin, services):
    """pgbouncer in transaction mode runs each transaction on any free connection."""
    for number in range(10):  # psycopg prepares statements that are sent more than five times
        admin.send(event())
        admin.post("/events", {"events": [event()]}, headers={"Idempotency-Key": f"{number}"})
        admin.get("/events")
    for output in ({}, {"format": "jsonl"}):
        assert admin.run_report(output)[0]["status"] == "COMPLETE"
    services.scheduler.run_all()
    store.upgrade()
    assert store.database.execute_sql(SESSION_STATE).fetchall() == []


class Pooled:
    """Connection through a pooler to a server with other settings, which records the values that it is sent in
    `sent`.
    """

    class pgconn:  # noqa: N801 - psycopg's name
        backend_pid = 1

    class info:  # noqa: N801 - psycopg's name
        user = "tally"
        server_version = postgres.OLDEST * 10_000

    def __init__(self, **settings: str) -> None:
        values = {name: allowed[0] for name, allowed in postgres.SESSION.items()} | settings
        self.row = (2, "UTF8", *values.values())
        self.sent = []

    def execute(self, query: str, values: tuple = ()) -> Pooled:
        self.sent.append(values)
        return self

    def fetchone(self) -> tuple:
        return self.row


@pytest.mark.parametrize("name", ["synchronous_commit", "default_transaction_isolation", "array_nulls"])
def test_a_pooler_that_would_lose_a_setting_is_rejected_with_the_fix(name):
    with pytest.raises(DatabaseUnsuitable, match=f"connection pooler, .+: ALTER ROLE .tally. SET {name} = '.+'"):
        postgres.set_up(Pooled(**{name: "off"}))


def test_a_setting_that_poolers_preserve_is_set():
    connection = Pooled(DateStyle="German, DMY")
    postgres.set_up(connection)
    assert connection.sent[1:] == [("DateStyle", "ISO, YMD")]
