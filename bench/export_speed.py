"""The speed of one large report compared with other ways to the same rows, in rounds.

Before the first round the output of every way is compared, because a fast way to the wrong rows does not count.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import export_baselines
from bench.databases import Stage
from bench.report import Figure, Goal, progress, say
from bench.servers import BenchFailed
from bench.service import Output, Refused, Whole

POSITIONAL: Output = {"layout": "positional", "header": True}
OUTPUTS: Mapping[str, Output] = {
    "positional": POSITIONAL,
    "columns by name": {"layout": "columns", "header": True},
    "positional, zstd": POSITIONAL | {"compression": "zstd"},
}
SERVICE, NAMED, ZSTD = OUTPUTS
PSQL, PSQL_NAMED = r"psql \copy", r"psql \copy of the columns"
SQLITE3, SQLITE3_NAMED = "sqlite3 -csv", "sqlite3 -csv of the columns"
PLAIN = "Peewee and csv.writer"
ITEMS = {
    "PostgreSQL": "context[{1}]",
    "SQLite": "json_extract(context, '$[{0}]')",
}  # see export_baselines

# goal for the ratio of the rates, by (way, against)
GOALS: Mapping[tuple[str, str], Goal | None] = {
    (SERVICE, PSQL): Goal(0.95),
    (NAMED, PSQL_NAMED): Goal(0.8),
    (NAMED, PSQL): None,
    (SERVICE, SQLITE3): Goal(0.5),
    (NAMED, SQLITE3_NAMED): Goal(0.75),
    (SERVICE, PLAIN): Goal(4),
}
ZSTD_GOAL = Goal(1.1, at_most=True)  # of the time without


@dataclass(frozen=True)
class Way:
    """A way to the rows.

    Attributes:
        go: writes them, and returns its duration in seconds.
        sha256: hash of the rows written last, as csv.writer writes them, or None if they cannot be compared.
    """

    go: Callable[[], float]
    sha256: Callable[[], str | None]


def measure(stage: Stage, url: str, service: Whole, rows: int, rounds: int) -> Iterator[Figure]:
    """Measure all ways in turn, over a filled database that is served."""
    ways = dict(_ways(stage, url, service, rows))
    _compare(stage, ways)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            progress(f"{stage.database}, round {number + 1} of {rounds}: {name}")
            seconds[name].append(way.go())
    progress()
    yield from _figures(stage, seconds, rows)


def _ways(stage: Stage, url: str, service: Whole, rows: int) -> Iterator[tuple[str, Way]]:
    for name, output in OUTPUTS.items():
        try:
            service.report(output, start=0, end=0)
        except Refused as error:
            say(f"{stage.database}, {name}: not measured, the service refuses it: {error}")
        else:
            yield name, _by_service(service, output, rows)
    positional, named = (
        columns(ITEMS[stage.database]) for columns in (export_baselines.positional, export_baselines.named)
    )
    if stage.database == "PostgreSQL":
        yield PSQL, _by_tool(export_baselines.psql(url, positional), stage.folder / "psql.csv")
        yield PSQL_NAMED, _by_tool(export_baselines.psql(url, named), stage.folder / "psql.csv")
    elif export_baselines.has_sqlite3():
        yield SQLITE3, _by_tool(export_baselines.sqlite3(url, positional), stage.folder / "sqlite3.csv")
        yield SQLITE3_NAMED, _by_tool(export_baselines.sqlite3(url, named), stage.folder / "sqlite3.csv")
    else:
        say("sqlite3 -csv: not measured, there is no such command. Install it: apt-get install sqlite3")
    yield PLAIN, _by_tool(export_baselines.plain(url), stage.folder / "plain.csv")


def _by_service(service: Whole, output: Output, rows: int) -> Way:
    hashes: list[str] = []

    def go() -> float:
        done = service.report(output)
        if done.rows != rows:
            raise BenchFailed(f"A report has {done.rows:,} rows, and {rows:,} were asked for.")
        hashes.append(done.sha256)
        return done.seconds

    return Way(go, lambda: None if "compression" in output else hashes[-1])


def _by_tool(write: export_baselines.Write, path: Path) -> Way:
    def go() -> float:
        began = time.perf_counter()
        write(path)
        return time.perf_counter() - began

    return Way(go, partial(_sha256, path))


def _sha256(path: Path) -> str:
    """Return the hash of a CSV file's rows, independent of quotes and line endings."""
    digest = hashlib.sha256()
    with path.open(newline="", encoding="utf-8") as file:
        csv.writer(_Digest(digest.update), delimiter=export_baselines.DELIMITER, lineterminator="\n").writerows(
            csv.reader(file, delimiter=export_baselines.DELIMITER)
        )
    return digest.hexdigest()


@dataclass(frozen=True)
class _Digest:
    """Read what csv.writer takes for a file."""

    update: Callable[[bytes], None]

    def write(self, line: str) -> None:
        self.update(line.encode())


def _compare(stage: Stage, ways: Mapping[str, Way]) -> None:
    """Run every way once, and compare what should be the same."""
    found: dict[str, str | None] = {}
    for name, way in ways.items():
        progress(f"{stage.database}, warming up and comparing: {name}")
        way.go()
        found[name] = way.sha256()
    for (name, against), _ in _pairs(found):
        if (name, against) != (NAMED, PSQL) and found[name] != found[against]:  # those have other columns
            raise BenchFailed(f"{stage.database}: the report's rows ({name}) are not those of {against}.")


def _pairs(measured: Mapping[str, object]) -> Iterator[tuple[tuple[str, str], Goal | None]]:
    return ((pair, goal) for pair, goal in GOALS.items() if all(name in measured for name in pair))


def _figures(stage: Stage, seconds: Mapping[str, Sequence[float]], rows: int) -> Iterator[Figure]:
    prefix = f"report, {stage.database}"
    for name, spent in seconds.items():
        if name not in OUTPUTS:
            yield Figure(f"{prefix}, {name}", rows / median(spent), "rows/s")
    for (name, against), goal in _pairs(seconds):
        ratio = median(limit / spent for spent, limit in zip(seconds[name], seconds[against], strict=True))
        yield Figure(f"{prefix}, {name}", rows / median(seconds[name]), "rows/s", against, ratio, goal)
    if ZSTD in seconds:
        ratio = median(packed / bare for packed, bare in zip(seconds[ZSTD], seconds[SERVICE], strict=True))
        yield Figure(f"{prefix}, {ZSTD}", median(seconds[ZSTD]) * 1000, "ms", "without zstd", ratio, ZSTD_GOAL)
