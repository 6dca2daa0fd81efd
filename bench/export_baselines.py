"""The same rows by other ways into a file: the database's own tool, and the naive way with Peewee and csv.writer.

Each takes the path of a file, and writes what a report of WANTED's events with a header contains: the same rows and
columns in the same order. sqlite3 has its own line endings and quotes more than necessary.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import peewee

from bench.naive_app import event_model, open_database
from bench.scattered_rows import PRODUCT, TYPES, WANTED
from bench.servers import ROOT, BenchFailed, postgres_tool

Write = Callable[[Path], None]
DELIMITER = "|"
WHERE = f"WHERE customer = '{WANTED}' AND product = '{PRODUCT}' ORDER BY timestamp, id"
CATALOG = ROOT / "app" / "catalog.sample.json"
TOOL_SECONDS = 600


def psql(url: str, columns: Mapping[str, str]) -> Write:
    """Run `psql` with `\\copy … TO file`, from the same wheel as the server.

    Args:
        columns: SQL by header.
    """
    chosen = ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())

    def write(path: Path) -> None:
        copy = rf"\copy (SELECT {chosen} FROM event {WHERE}) TO '{path}' (FORMAT csv, DELIMITER '{DELIMITER}', HEADER)"
        _run([postgres_tool("psql"), "--no-psqlrc", "--quiet", "--command", copy, url])

    return write


def has_sqlite3() -> bool:
    """Return whether there is the command `sqlite3`."""
    return shutil.which("sqlite3") is not None


def sqlite3(url: str, columns: Mapping[str, str]) -> Write:
    """Run `sqlite3 -csv` into a file."""
    chosen = ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())
    options = ["-batch", "-readonly", "-csv", "-header", "-separator", DELIMITER]
    command = ["sqlite3", *options, url.removeprefix("sqlite:///"), f"SELECT {chosen} FROM event {WHERE}"]  # noqa: S608

    def write(path: Path) -> None:
        with path.open("wb") as file:
            _run(command, file)

    return write


def plain(url: str) -> Write:
    """Use a Peewee iterator over models, and csv.writer, by position."""

    def write(path: Path) -> None:
        database = open_database(url)
        event = event_model(database)
        query = event.select().where(event.customer == WANTED, event.product == PRODUCT)
        with path.open("w", newline="", encoding="utf-8") as file, database.connection_context():
            writer = csv.writer(file, delimiter=DELIMITER, lineterminator="\n")
            writer.writerow(positional(""))
            for row in query.order_by(event.timestamp, event.id).iterator():
                context = json.loads(row.context) if isinstance(row.context, str) else row.context
                writer.writerow([row.timestamp, row.type, *context])
        if isinstance(database, peewee.PostgresqlDatabase):
            database.close_all()

    return write


def positional(item: str) -> dict[str, str]:
    """Return the columns by position.

    Args:
        item: SQL for a context's item, with its number from 0 as `{0}` and from 1 as `{1}`.
    """
    return _common() | {f"context{place + 1}": item.format(place, place + 1) for place in range(3)}


def named(item: str) -> dict[str, str]:
    """Return the columns by the catalog's names; see `positional`."""
    catalog = orjson.loads(CATALOG.read_bytes())
    columns = next(product["columns"] for product in catalog["products"] if product["code"] == PRODUCT)
    contexts = {kind["code"]: kind["context"] for kind in catalog["types"] if kind["code"] in TYPES}
    named_items = {column: _named(column, contexts, item) for column in columns}
    return _common() | named_items | {"extra": _extra(columns, contexts, item)}


def _extra(columns: Sequence[str], contexts: Mapping[str, Sequence[str]], item: str) -> str:
    """Return SQL for a JSON array of the items without a column; none of them is null."""
    quoted = "json_quote({})" if item.startswith("json_") else "to_json({})::text"
    cases = ""
    for kind, names in contexts.items():
        places = [place for place, name in enumerate(names) if name not in columns]
        items = " || ',' || ".join(quoted.format(item.format(place, place + 1)) for place in places)
        cases += f"WHEN '{kind}' THEN '[' || {items} || ']' " if places else ""
    return f"CASE type {cases}END"


def _common() -> dict[str, str]:
    return {"timestamp": "timestamp", "type": "type"}


def _named(column: str, contexts: Mapping[str, Sequence[str]], item: str) -> str:
    places = {kind: names.index(column) for kind, names in contexts.items() if column in names}
    cases = [f"WHEN '{kind}' THEN {item.format(place, place + 1)}" for kind, place in places.items()]
    return f"CASE type {' '.join(cases)} END" if cases else "NULL"


def _run(command: Sequence[str], output: object = subprocess.DEVNULL) -> None:
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=TOOL_SECONDS)
    if done.returncode:
        raise BenchFailed(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")
