"""Ingestion: events a second from HTTP to commit, against what the parts of this machine could do in the same run.

    python -m bench.ingest [--short] [--json FILE]

On each database, at batches of 1 to 1000 events and 64 connections: the service as shipped; an echo route on the same
server (no database); rows written straight to the database (no HTTP); and the same route written the plain way. The
service and the straight way also with events in no order of time (`bench.scattered`). Rounds are interleaved, so that a
slow minute of the machine hits all of them, and a ratio is the median of the rounds'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from bench import scattered
from bench.databases import STAGES, Stage
from bench.db_baseline import Row, SqliteTable, measure, rows
from bench.load import load
from bench.report import Figure, Goal, command, progress, table
from bench.servers import ECHO, PLAIN, SERVICE, Program, Web

BATCHES = (1, 10, 100, 1000)
WARM_UP = (1, 100)
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
COPY, COMMITS, EXECUTEMANY = "raw COPY", "raw one-row commits", "raw executemany"
MEMORY_GOAL = Goal(200, at_most=True)  # MiB
FLAT_GOAL = Goal(1.1, at_most=True)  # of the memory after the first round

# (database, batch, against) → the least ratio.
GOALS: Mapping[tuple[str, int, str], float] = {
    (POSTGRES, 1, ECHO.name): 0.70,
    (POSTGRES, 1, COMMITS): 3.3,
    (POSTGRES, 100, COPY): 1.2,
    (SQLITE, 1, ECHO.name): 0.62,
    (SQLITE, 100, EXECUTEMANY): 0.65,
    **{(POSTGRES, batch, PLAIN.name): 4.0 for batch in BATCHES},
    (SQLITE, 1, PLAIN.name): 3.5,
    (SQLITE, 100, PLAIN.name): 1.8,
}


SCATTERED_GOAL = 0.75  # of the straight way with the same rows, at every batch
TIME_ORDERED, SCATTERED = "", ", scattered"  # how reports call the shapes


@dataclass(frozen=True)
class Pace:
    """How long each measurement takes, and how often it is repeated."""

    rounds: int
    seconds: float


SHORT = Pace(rounds=3, seconds=0.6)
LONG = Pace(rounds=5, seconds=3)


@dataclass(frozen=True)
class Way:
    """One way for events to go.

    Attributes:
        name: how reports call it.
        rate: takes a batch and seconds, returns events per second.
        clear: empties its table, so that every measurement begins alike.
        batches: those it is measured at.
    """

    name: str
    rate: Callable[[int, float], float]
    clear: Callable[[], None] = lambda: None
    batches: Sequence[int] = BATCHES


@dataclass
class Run:
    """One database's measurements."""

    database: str
    ways: Sequence[Way]
    service: Web
    shape: str = TIME_ORDERED
    rates: dict[tuple[str, int], list[float]] = field(default_factory=dict)  # (way, batch) → one for each round
    memory: list[float] = field(default_factory=list)  # MiB of the largest web process, after each round

    def measure(self, pace: Pace) -> None:
        """Measure everything, round by round."""
        for batch in WARM_UP:
            self._each(batch, pace.seconds / 2, "warming up")
        self.rates.clear()
        for number in range(pace.rounds):
            for batch in BATCHES:
                self._each(batch, pace.seconds, f"round {number + 1} of {pace.rounds}")
            self.memory.append(self.service.memory())

    def _each(self, batch: int, seconds: float, said: str) -> None:
        for way in self.ways:
            if batch in way.batches:
                progress(f"{self.database}, {said}, batch {batch}: {way.name}")
                way.clear()
                self.rates.setdefault((way.name, batch), []).append(way.rate(batch, seconds))
        progress()

    def figures(self) -> list[Figure]:
        """The rates, their ratios, and the memory."""
        return [*self._limits(), *self._ratios(), *(() if self.shape else self._memory())]

    def _limits(self) -> list[Figure]:
        return [
            Figure(self._name(batch, way), median(rates), "events/s")
            for (way, batch), rates in self.rates.items()
            if way != SERVICE.name
        ]

    def _ratios(self) -> Iterator[Figure]:
        for (against, batch), limits in self.rates.items():
            if against == SERVICE.name:
                continue
            rates = self.rates[SERVICE.name, batch]
            ratio = median(rate / limit for rate, limit in zip(rates, limits, strict=True))
            bound = SCATTERED_GOAL if self.shape else GOALS.get((self.database, batch, against))
            goal = None if bound is None else Goal(bound)
            yield Figure(self._name(batch, SERVICE.name), median(rates), "events/s", against, ratio, goal)

    def _memory(self) -> list[Figure]:
        name = f"ingest, {self.database}, memory of a web process"
        growth = self.memory[-1] / self.memory[0]
        return [
            Figure(f"{name}, peak", self.service.peak_memory(), "MiB", goal=MEMORY_GOAL),
            Figure(f"{name}, at the end", self.memory[-1], "MiB", "after round 1", growth, FLAT_GOAL),
        ]

    def _name(self, batch: int, way: str) -> str:
        return f"ingest, {self.database}{self.shape}, batch {batch}, {way}"

    def __str__(self) -> str:
        """Events per second by batch, with the service's ratio in brackets."""
        names = [way.name for way in self.ways]
        rows = [[str(batch), *(self._cell(name, batch) for name in names)] for batch in BATCHES]
        return f"{self.database}{self.shape}, events/s (service : it)\n{table(['batch', *names], rows)}"

    def _cell(self, way: str, batch: int) -> str:
        limits = self.rates.get((way, batch))
        if limits is None:
            return ""
        ratio = median(rate / limit for rate, limit in zip(self.rates[SERVICE.name, batch], limits, strict=True))
        return f"{median(limits):,.0f}" + ("" if way == SERVICE.name else f" ({ratio:.2f})")


def run(short: bool) -> list[Figure]:
    """Measure both databases and print what was found."""
    figures = []
    for stage in STAGES:
        with stage() as opened:
            for measured in prepare(opened):
                measured.measure(SHORT if short else LONG)
                print(f"{measured}\n", flush=True)
                figures.extend(measured.figures())
    return figures


def prepare(stage: Stage) -> Iterator[Run]:
    """Start everything that is measured on a stage: time-ordered, then scattered."""
    served = {program: _served(stage, program) for program in (SERVICE, ECHO, PLAIN)}
    service, _ = served[SERVICE]
    ways = [way for _, way in served.values()]
    yield Run(stage.database, [*ways, *_straight(stage)], service)
    clear = ways[0].clear
    ours = Way(SERVICE.name, lambda batch, seconds: _scattered(service, batch, seconds), clear)
    yield Run(stage.database, [ours, *_straight(stage, "raw_scattered", scattered.rows)], service, SCATTERED)


def _scattered(server: Web, batch: int, seconds: float) -> float:
    return load(server.port, batch, seconds, shape=scattered.Requests).rate


def _served(stage: Stage, program: Program) -> tuple[Web, Way]:
    url, table = stage.create(program.name)
    server = stage.serve(program, program.name, url)
    return server, Way(program.name, lambda batch, seconds: load(server.port, batch, seconds).rate, table.clear)


def _straight(stage: Stage, name: str = "raw", made: Callable[[int], list[Row]] = rows) -> list[Way]:
    _, table = stage.create(name)
    if isinstance(table, SqliteTable):
        return [Way(EXECUTEMANY, partial(measure, table.insert, made=made), table.clear)]
    commits = Way(COMMITS, partial(measure, table.insert), table.clear, batches=(1,))
    return [Way(COPY, partial(measure, table.copy, made=made), table.clear), *([commits] if made is rows else [])]


if __name__ == "__main__":
    command("bench.ingest", "Ingestion against the limits of this machine.", run)
