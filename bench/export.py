"""Reports: from the HTTP request to COMPLETE, compared with the databases' own tools and the naive way in the same run.

    python -m bench.export [--short] [--only PIECE]… [--json FILE]

The complete service (web, worker, scheduler, Valkey) with 5 million events of which a report selects 1 million, mixed
with the others over 90 days. One in a hundred has a quote, the delimiter and a newline. The short form selects 200,000
of 1 million, and omits what needs more rows. Rounds are interleaved, and a ratio is the median of the rounds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.databases import Stage, postgres_stage, sqlite_stage
from bench.export_speed import POSITIONAL, measure
from bench.processes import processor_seconds
from bench.report import Figure, Goal, command, progress, say, table
from bench.scattered_rows import OTHER, Mixture
from bench.service import Whole, whole

STAGES = {"postgresql": postgres_stage, "sqlite": sqlite_stage}
SPEED, MEMORY, GROWTH, SHARDS = "speed", "memory", "growth", "shards"
PIECES = [f"{name}-{piece}" for name in STAGES for piece in (SPEED, MEMORY, GROWTH)] + [f"postgresql-{SHARDS}"]

MAIN, MAIN_SHORT = Mixture(5_000_000, every=5), Mixture(1_000_000, every=5)
SMALL, LARGE = Mixture(100_000, every=5), Mixture(10_020_000, every=501)  # both have 20,000 selected
ROUNDS = 3
SELDOM_SECONDS = 0.05  # between polls of a report that uses all processors, because polling takes its share of them
ROUNDS_OF_SHARDS = 5
ROUNDS_OF_FEW = 9  # they are short, and the 20 ms between two polls are a large part of them

MEMORY_GOAL, FLAT_GOAL = Goal(120, at_most=True), Goal(1.1, at_most=True)  # MiB; of the memory with fewer rows
FEW_GOAL, SHARDS_GOAL = Goal(1.5, at_most=True), Goal(1.4)


def run(short: bool, only: Collection[str] = PIECES) -> list[Figure]:
    """Measure the selected pieces, and print the results."""
    figures = []
    for name, opened in STAGES.items():
        if wanted := {piece.partition("-")[2] for piece in only if piece.startswith(name)}:
            with opened() as stage:
                figures += list(_measure(stage, short, wanted))
    say(f"{_listed(figures)}\n")
    return figures


def _measure(stage: Stage, short: bool, wanted: Collection[str]) -> Iterator[Figure]:
    main = MAIN_SHORT if short else MAIN
    peak = None
    if wanted & {SPEED, MEMORY, SHARDS}:
        url = _filled(stage, "main", main)
        with whole(stage.folder / "service", url) as service:
            if SPEED in wanted:
                yield from measure(stage, url, service, main.wanted, ROUNDS)
            if MEMORY in wanted:
                peak = service.report(POSITIONAL).peak
                yield Figure(_name(stage, f"memory at {main.wanted:,} rows"), peak, "MiB", goal=MEMORY_GOAL)
        if SHARDS in wanted and not short:
            yield from _shards(stage, url, main)
    if not short and wanted & {MEMORY, GROWTH}:
        yield from _large(stage, wanted, peak)


def _large(stage: Stage, wanted: Collection[str], peak: float | None) -> Iterator[Figure]:
    """Measure what needs ten million events: memory, and few rows of many."""
    urls = {size: _filled(stage, f"of_{size.total}", size) for size in (SMALL, LARGE)}
    with (
        whole(stage.folder / "small", urls[SMALL]) as small,
        whole(stage.folder / "large", urls[LARGE]) as large,
    ):
        if GROWTH in wanted:
            progress(f"{stage.database}: {LARGE.wanted:,} of many rows and of few")
            yield from _few(stage, {SMALL: small, LARGE: large})
        if peak is not None:
            progress(f"{stage.database}: a report of {LARGE.total - LARGE.wanted:,} rows")
            most = large.report(POSITIONAL, customer=OTHER)
            name = _name(stage, f"memory at {most.rows:,} rows")
            yield Figure(name, most.peak, "MiB", goal=MEMORY_GOAL)
            yield Figure(name, most.peak, "MiB", f"at {MAIN.wanted:,} rows", most.peak / peak, FLAT_GOAL)


def _few(stage: Stage, services: Mapping[Mixture, Whole]) -> Iterator[Figure]:
    """Compare as many rows of a large table as of a small one: scattered among the others, and adjacent."""
    count = LARGE.wanted
    apart = [[services[each].report(POSITIONAL).seconds for each in (SMALL, LARGE)] for _ in range(ROUNDS_OF_FEW)]
    yield _of_few(stage, f"{count:,} scattered rows", apart)
    starts = {each: each.start_of_newest(count) for each in services}
    together = [
        [services[each].report(POSITIONAL, customer=OTHER, start=starts[each]).seconds for each in (SMALL, LARGE)]
        for _ in range(ROUNDS_OF_FEW)
    ]
    yield _of_few(stage, f"the newest {count:,} rows", together)


def _of_few(stage: Stage, rows: str, rounds: Sequence[Sequence[float]]) -> Figure:
    return Figure(
        _name(stage, f"{rows} of {LARGE.total:,} events"),
        median(of_large for _, of_large in rounds) * 1000,
        "ms",
        f"of {SMALL.total:,} events",
        median(of_large / of_small for of_small, of_large in rounds),
        FEW_GOAL,
    )


def _shards(stage: Stage, url: str, main: Mixture) -> Iterator[Figure]:
    """Measure a report in parts with one worker and with two. The service is restarted for each."""
    rows = main.total - main.wanted
    rounds = [[_sharded(stage, url, rows, workers) for workers in (1, 2)] for _ in range(ROUNDS_OF_SHARDS)]
    for number, who in enumerate(("one worker", "two workers")):
        spent = [each[number] for each in rounds]
        for where in ("database", "service"):
            name = _name(stage, f"{rows:,} rows by {who}, processors' time of the {where}")
            yield Figure(name, median(getattr(one, where) / one.seconds for one in spent) * 100, "% of one")
    yield Figure(
        _name(stage, f"{rows:,} rows by two workers"),
        rows / median(by_two.seconds for _, by_two in rounds),
        "rows/s",
        "one worker",
        median(by_one.seconds / by_two.seconds for by_one, by_two in rounds),
        SHARDS_GOAL,
    )


@dataclass(frozen=True)
class Spent:
    """Return what a report took, in seconds of the clock and of processors."""

    seconds: float
    database: float
    service: float


def _sharded(stage: Stage, url: str, rows: int, workers: int) -> Spent:
    progress(f"{stage.database}: a report in parts by {workers} workers")
    server = int((stage.folder / "pg" / "postmaster.pid").read_text().splitlines()[0])
    settings = {"WORKERS": str(workers), "REPORT_SHARD_ROWS": str(rows // 2)}
    with whole(stage.folder / "shards", url, **settings) as service:
        service.report(POSITIONAL, customer=OTHER)  # warms up
        before = processor_seconds(server), processor_seconds(service.pid)
        seconds = service.report(POSITIONAL, customer=OTHER, poll_seconds=SELDOM_SECONDS).seconds
        return Spent(seconds, processor_seconds(server) - before[0], processor_seconds(service.pid) - before[1])


def _filled(stage: Stage, name: str, mixture: Mixture) -> str:
    progress(f"{stage.database}: filling a table with {mixture.total:,} events")
    url, _ = stage.create(name)
    mixture.fill(url)
    return url


def _name(stage: Stage, what: str) -> str:
    return f"report, {stage.database}, {what}"


def _listed(figures: list[Figure]) -> str:
    rows = [
        [one.name, f"{one.value:,.0f} {one.unit}", one.against or "", "" if one.ratio is None else f"{one.ratio:.2f}"]
        for one in figures
    ]
    return table(("figure", "value", "against", "ratio"), rows)


if __name__ == "__main__":
    command("bench.export", "Reports against the databases' own tools.", run, PIECES)
