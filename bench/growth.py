"""Growth: time-ordered ingestion into a large table compared with a small one, in the same run.

Also events in no order of time into a large table of such events, at batches of 1 to 1000, compared with the same rows
inserted directly into the same indexes. Indexes that do not fit into memory are slow for every writer.

    python -m bench.growth [--short] [--json FILE]

The short form measures nothing, because a table that fits into memory shows no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from bench import scattered
from bench.databases import STAGES, Stage
from bench.db_baseline import SqliteTable, measure
from bench.load import load
from bench.report import Figure, Goal, command, progress
from bench.servers import SERVICE, Web

SMALL, LARGE = 100_000, 10_000_000  # events stored before the first measurement
BATCH = 100
SCATTERED = 5_000_000  # events stored before any scattered one is measured
BATCHES = (1, 10, 100, 1000)
ROUNDS = 3
SECONDS = 5
GOAL = Goal(0.75)


def run(short: bool) -> list[Figure]:
    """Measure both databases; nothing in the short form."""
    figures = []
    for stage in () if short else STAGES:
        with stage() as opened:
            found = [grow(opened), *scattered_growth(opened)]
            print("\n".join(f"{one.name}: {one.ratio:.2f} of {one.against}" for one in found), "\n", flush=True)
            figures.extend(found)
    return figures


def grow(stage: Stage) -> Figure:
    """Fill two databases, serve both, and measure in turns."""
    servers = {size: _filled(stage, size) for size in (SMALL, LARGE)}
    rates = [_rates(servers) for _ in range(ROUNDS)]
    progress()
    return Figure(
        f"ingest, {stage.database}, batch {BATCH}, {LARGE:,} events stored",
        median(pair[LARGE] for pair in rates),
        "events/s",
        f"{SMALL:,} stored",
        median(pair[LARGE] / pair[SMALL] for pair in rates),
        GOAL,
    )


def scattered_growth(stage: Stage) -> Iterator[Figure]:
    """Fill two databases with scattered events, and measure the service and the direct insert in turns."""
    progress(f"{stage.database}: filling two tables with {SCATTERED:,} scattered events")
    (served_url, _), (straight_url, table) = (stage.create(name) for name in ("scattered", "scattered_raw"))
    for url in (served_url, straight_url):
        scattered.fill(url, SCATTERED)
    server = stage.serve(SERVICE, "scattered", served_url)
    insert = table.insert if isinstance(table, SqliteTable) else table.copy
    for batch in BATCHES:
        progress(f"{stage.database}: scattered events, batch {batch}")
        pairs = [
            (
                load(server.port, batch, SECONDS, shape=scattered.Requests).rate,
                measure(insert, batch, SECONDS, made=scattered.rows),
            )
            for _ in range(ROUNDS)
        ]
        yield Figure(
            f"ingest, {stage.database}, scattered, batch {batch}, {SCATTERED:,} events stored",
            median(rate for rate, _ in pairs),
            "events/s",
            "the same rows written straight",
            median(rate / raw for rate, raw in pairs),
            GOAL,
        )
    progress()


def _filled(stage: Stage, size: int) -> Web:
    progress(f"{stage.database}: filling a table with {size:,} events")
    name = f"filled_{size}"
    url, table = stage.create(name)
    table.fill(size)
    server = stage.serve(SERVICE, name, url)
    load(server.port, BATCH, 1)  # warms up
    return server


def _rates(servers: Mapping[int, Web]) -> dict[int, float]:
    rates = {}
    for size, server in servers.items():
        progress(f"Growth: ingesting over {size:,} events")
        rates[size] = load(server.port, BATCH, SECONDS).rate
    return rates


if __name__ == "__main__":
    command("bench.growth", "Ingestion into a large table against a small one.", run)
