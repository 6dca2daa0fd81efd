"""`python -m bench [--short] [--json FILE]`: every benchmark, then one table of figure, goal, met or not."""

from __future__ import annotations

from bench import counting, crossover, dashboard, export, feed, growth, ingest, slow
from bench.report import Benchmark, Figure, command

BENCHMARKS: tuple[Benchmark, ...] = (
    ingest.run,
    slow.run,
    crossover.run,
    feed.run,
    dashboard.run,
    growth.run,
    counting.run,
    export.run,
)


def run(short: bool) -> list[Figure]:
    """Run them one after the other: they share a machine."""
    return [figure for benchmark in BENCHMARKS for figure in benchmark(short)]


if __name__ == "__main__":
    command("bench", "Every benchmark; the short form takes some minutes.", run)
