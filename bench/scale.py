"""Scale: the service over 100 million events compared with a million, in the same run.

    python -m bench.scale --database postgresql|sqlite [--rows 100_000_000] [--folder DIR] [--keep] [--json FILE]

For both sizes: ingestion, reports of 20,000 rows and of a month, the main pages of the dashboard, bytes per event and
peak memory. `bench.scale_rows` describes the events. PostgreSQL's indexes are created after the rows; the output says
how long each stage took. With --keep the filled databases remain in the folder, and a later run with that folder
measures them without filling. The events that a run ingests remain, too.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode

import psycopg

from bench import scale_rows
from bench.dashboard import REJECTED, page_times
from bench.dashboard_client import Visitor
from bench.db_baseline import DAY
from bench.export_speed import POSITIONAL
from bench.load import load
from bench.report import Figure, Goal, progress, run_command, say, table
from bench.scale_rows import LARGEST, SCATTERED, SCATTERED_ROWS, Filling
from bench.servers import ROOT, BenchFailed, Postgres, migrate, postgres
from bench.service import Whole, whole

SMALL, ROWS = 1_000_000, 100_000_000
BYTES = {"postgresql": 380, "sqlite": 400}  # of disk per event while a database is filled, with the sort of its index
BATCH, SECONDS, ROUNDS = 100, 5, 3
PAGE_ROUNDS = 40  # with 20, the p95 is the slowest
# PostgreSQL does not log a table that it fills in the transaction that empties it.
FILLING = {"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB"}

INGESTION, PAGE = f"ingestion, batch {BATCH}", "page:"
ADJACENT, APART = (f"report of {SCATTERED_ROWS:,} {how} rows" for how in ("adjacent", "scattered"))
MONTH = "report of a whole month"
GOALS = {INGESTION: Goal(0.75), ADJACENT: Goal(1.5, at_most=True), APART: Goal(1.5, at_most=True)}  # ratios
PAGE_GOAL = Goal(100, at_most=True)  # milliseconds
FOLDER = Path(os.environ.get("TMPDIR", ROOT / "bench" / "out"))

Results = dict[str, tuple[float, str]]  # value and unit by name


def run(options: Namespace) -> list[Figure]:
    """Fill what is not filled yet, and measure both sizes."""
    folder: Path = options.folder.resolve() / "tally-scale"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # noqa: S103 - PostgreSQL does not run as root
    sizes = sorted({SMALL, options.rows})
    try:
        _fill(options.database, folder, sizes)
        with STAGES[options.database](folder, {}) as stage:
            results = {rows: _measure(stage, rows, folder / "service") for rows in sizes}
        records = {rows: json.loads(_record(options.database, folder, rows).read_text()) for rows in sizes}
        return list(_figures(options.database, results, records))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _fill(database: str, folder: Path, sizes: Sequence[int]) -> None:
    """Fill the databases that have no record yet."""
    missing = [rows for rows in sizes if not _record(database, folder, rows).exists()]
    if not missing:
        return
    need, free = sum(missing) * BYTES[database], shutil.disk_usage(folder).free
    if need > free:
        raise BenchFailed(
            f"{folder} has {free / 1e9:.0f} GB free, and {need / 1e9:.0f} GB are needed. "
            "Choose another one with --folder, or fewer events with --rows."
        )
    with STAGES[database](folder, FILLING) as stage:
        for rows in missing:
            url = stage.create(_name(rows))
            migrate(url)
            filling = Filling(url, rows)
            filling.run()
            record = {"seconds": filling.seconds, "rates": filling.rates, "bytes": stage.sizes(_name(rows))}
            _record(database, folder, rows).write_text(json.dumps(record))


def _name(rows: int) -> str:
    return f"scale_{rows}"


def _record(database: str, folder: Path, rows: int) -> Path:
    return folder / f"{database}-{rows}.json"


@dataclass(frozen=True)
class Sqlite:
    """Databases in a folder."""

    folder: Path

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return f"sqlite:///{self._path(name)}"

    def create(self, name: str) -> str:
        """Create an empty database, in place of one that an interrupted run left."""
        for path in self.folder.glob(f"{name}.db*"):
            path.unlink()
        return self.url(name)

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of the database, which are not known by table."""
        return {"all tables": self._path(name).stat().st_size}

    def query(self, name: str, query: str) -> Sequence[tuple]:
        """Return the rows of a query."""
        with closing(sqlite3.connect(self._path(name))) as connection:
            return connection.execute(query).fetchall()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.db"


@dataclass(frozen=True)
class Server:
    """Databases of a PostgreSQL server."""

    server: Postgres

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return self.server.url.replace("/postgres?", f"/{name}?")

    def create(self, name: str) -> str:
        """Create an empty database, in place of one that an interrupted run left."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
        return self.server.create(name)

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of the events and of the rest."""
        [(table, indexes, hourly, daily)] = self.query(
            name,
            "SELECT pg_table_size('event'), pg_indexes_size('event'), pg_total_relation_size('hourly_count'), "
            "pg_total_relation_size('daily_count') + pg_total_relation_size('daily_customer_count')",
        )
        return {"table": table, "indexes": indexes, "hourly counts": hourly, "daily counts": daily}

    def query(self, name: str, query: str) -> Sequence[tuple]:
        """Return the rows of a query."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            return connection.execute(query).fetchall()


@contextmanager
def _sqlite(folder: Path, settings: Mapping[str, str]) -> Iterator[Sqlite]:
    yield Sqlite(folder)


@contextmanager
def _postgresql(folder: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    with postgres(folder, settings, keep=True) as server:
        yield Server(server)


STAGES = {"postgresql": _postgresql, "sqlite": _sqlite}


def _measure(stage: Sqlite | Server, rows: int, folder: Path) -> Results:
    """Measure the service over one database. Ingestion is last, because it adds events."""
    name = _name(rows)
    ends = stage.query(
        name,
        "SELECT timestamp FROM event WHERE customer = '{}' AND product = '{}' "  # noqa: S608
        f"ORDER BY timestamp DESC LIMIT 1 OFFSET {SCATTERED_ROWS - 1}".format(*LARGEST),
    )
    [(newest,)] = stage.query(name, "SELECT received FROM event ORDER BY id DESC LIMIT 1")
    with whole(folder, stage.url(name)) as service:
        results = dict(_pages(service, rows))
        results |= dict(_reports(service, rows, ends[0][0], newest))
        progress(f"{rows:,} events: ingestion")
        load(service.port, BATCH, 1, shape=scale_rows.Requests)  # warms up
        rates = [load(service.port, BATCH, SECONDS, shape=scale_rows.Requests).rate for _ in range(ROUNDS)]
        results[INGESTION] = median(rates), "events/s"
        results["peak memory of a web process"] = service.web_peak(), "MiB"
    return results


def _reports(service: Whole, rows: int, start: int, newest: int) -> Iterator[tuple[str, tuple[float, str]]]:
    adjacent = {"customer": LARGEST[0], "product": LARGEST[1], "start": start}
    scattered = {"customer": SCATTERED, "product": LARGEST[1]}
    month = adjacent | {"start": newest - 30 * DAY, "end": newest}
    peak = 0.0
    for name, filter in ((ADJACENT, adjacent), (APART, scattered), (MONTH, month)):
        progress(f"{rows:,} events: {name}")
        service.report(POSITIONAL, **filter)  # warms up
        done = [service.report(POSITIONAL, **filter) for _ in range(ROUNDS)]
        peak = max(peak, *(one.peak for one in done))
        seconds, number = median(one.seconds for one in done), done[0].rows
        say(f"{rows:,} events: {name}: {number:,} rows in {seconds:.2f} s")
        yield name, (number / seconds, "rows/s") if name == MONTH else (seconds * 1000, "ms")
    yield "peak memory of a report's writer", (peak, "MiB")


def _pages(service: Whole, rows: int) -> Iterator[tuple[str, tuple[float, str]]]:
    """Yield the p95 of the main pages, and of the events with each kind of filter."""
    service.refuse(REJECTED)
    visitor = Visitor(service.port)
    visitor.sign_in()
    customer, product = LARGEST
    rare = f"{product}-TYPE-{scale_rows.TYPES_EACH - 1}"
    filters = {
        "a customer": {"customer": customer},
        "a customer and product": {"customer": customer, "product": product},
        "a rare type": {"customer": customer, "product": product, "types": rare},
        "a small customer": {"customer": SCATTERED},
    }
    pages = {"overview": "/admin/", "overview, 30 days by type": "/admin/?range=30d&by=type", "events": "/admin/events"}
    pages |= {f"events of {name}": f"/admin/events?{urlencode(values)}" for name, values in filters.items()}
    pages |= {name: f"/admin/{name}" for name in ("reports", "rejected", "catalog", "system")}
    times = page_times(visitor, pages, PAGE_ROUNDS, f"{rows:,} events")
    for name, spent in times.items():
        yield f"{PAGE} {name}, p95", (quantiles(spent, n=20)[-1], "ms")


def _figures(database: str, results: Mapping[int, Results], records: Mapping[int, Mapping]) -> Iterator[Figure]:
    """Return the figures of the larger table, with their ratio to those of the smaller."""
    small, large = min(results), max(results)
    for rows, record in records.items():
        stages = [[name, f"{record['seconds'][name]:.0f} s", f"{rate:,.0f}"] for name, rate in record["rates"].items()]
        stages.append(["in all", f"{sum(record['seconds'].values()):.0f} s", ""])
        say(f"{table((f'{database}, {rows:,} events, filled by', 'time', 'events/s'), stages)}\n")
        results[rows] |= {f"bytes per event, {name}": (number / rows, "B") for name, number in record["bytes"].items()}
    lines = [
        [
            name,
            *(f"{of[name][0]:,.0f} {of[name][1]}" for of in results.values()),
            f"{value / results[small][name][0]:.2f}",
        ]
        for name, (value, _) in results[large].items()
    ]
    say(f"{table((database, *(f'{rows:,} events' for rows in results), 'ratio'), lines)}\n")
    for name, (value, unit) in results[large].items():
        goal = PAGE_GOAL if name.startswith(PAGE) else GOALS.get(name)
        ratio = None if name.startswith(PAGE) else value / results[small][name][0]
        against = None if ratio is None else f"{small:,} events"
        yield Figure(f"{name}, {database}, {large:,} events", value, unit, against, ratio, goal)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="python -m bench.scale", description="The service over very many events.")
    parser.add_argument("--database", choices=STAGES, required=True)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"events of the larger table (default: {ROWS:,})")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where the databases are made (default: {FOLDER})")
    parser.add_argument("--keep", action="store_true", help="keep the filled databases for the next run")
    run_command(parser, run)


if __name__ == "__main__":
    main()
