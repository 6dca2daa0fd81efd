"""Growth: time-ordered ingestion into a large table against a small one, side by side in the same run.

    python -m bench.growth [--short] [--json FILE]

The short form has nothing to say: a table that fits in memory anyway shows no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from bench.load import load
from bench.report import Figure, Goal, command, progress
from bench.servers import SERVICE, Web
from bench.stages import STAGES, Stage

SMALL, LARGE = 100_000, 10_000_000  # events stored before the first measurement
BATCH = 100
ROUNDS = 3
SECONDS = 5
GOAL = Goal(0.75)


def run(short: bool) -> list[Figure]:
    """Measure both databases; nothing in the short form."""
    figures = []
    for stage in () if short else STAGES:
        with stage() as opened:
            figures.append(grow(opened))
            print(f"{figures[-1].name}: {figures[-1].ratio:.2f} of {figures[-1].against}\n", flush=True)
    return figures


def grow(stage: Stage) -> Figure:
    """Fill two databases, serve both, measure in turns."""
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
