"""`python -m bench [--short] [--json FILE]`: runs every benchmark, then prints a table of the figures and their
goals.
"""

from __future__ import annotations

from bench import changes, client, counting, counts, crossover, dashboard, export, feed, growth, ingest, slow
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
    client.run,
    changes.run,
    counts.run,
)


def run(short: bool) -> list[Figure]:
    """Run the benchmarks in sequence, because they share a machine."""
    return [figure for benchmark in BENCHMARKS for figure in benchmark(short)]


if __name__ == "__main__":
    command("bench", "Every benchmark; the short form takes some minutes.", run)
