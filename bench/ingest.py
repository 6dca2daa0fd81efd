"""Ingestion: events per second from HTTP to commit, compared with the limits of this machine in the same run.

    python -m bench.ingest [--short] [--json FILE]

On each database, at batches of 1 to 1000 events and 64 connections: the complete service; an echo route on the same
server (no database); rows inserted directly into the database (no HTTP); and the naive version of the route. The
service and the direct insert are also measured with events in no order of time (`bench.scattered`). Rounds are
interleaved, so that a slow minute of the machine affects all of them, and a ratio is the median of the rounds.
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

# least ratio, by (database, batch, against)
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


SCATTERED_GOAL = 0.75  # of the direct insert of the same rows, at every batch
TIME_ORDERED, SCATTERED = "", ", scattered"  # names of the shapes in the output


@dataclass(frozen=True)
class Pace:
    """Duration of each measurement, and number of rounds."""

    rounds: int
    seconds: float


SHORT = Pace(rounds=3, seconds=0.6)
LONG = Pace(rounds=5, seconds=3)


@dataclass(frozen=True)
class Way:
    """A way to store events.

    Attributes:
        name: its name in the output.
        rate: takes a batch and seconds, and returns events per second.
        clear: empties its table, so that every measurement starts equally.
        batches: the batch sizes at which it is measured.
    """

    name: str
    rate: Callable[[int, float], float]
    clear: Callable[[], None] = lambda: None
    batches: Sequence[int] = BATCHES


@dataclass
class Run:
    """Measurements of one database."""

    database: str
    ways: Sequence[Way]
    service: Web
    shape: str = TIME_ORDERED
    rates: dict[tuple[str, int], list[float]] = field(default_factory=dict)  # one rate for each round, by (way, batch)
    memory: list[float] = field(default_factory=list)  # MiB of the largest web process, after each round

    def measure(self, pace: Pace) -> None:
        """Measure everything in rounds."""
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
        """Return the rates, their ratios, and the memory."""
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
        """Return the events per second by batch, with the service's ratio in brackets."""
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
    """Measure both databases, and print the results."""
    figures = []
    for stage in STAGES:
        with stage() as opened:
            for measured in prepare(opened):
                measured.measure(SHORT if short else LONG)
                print(f"{measured}\n", flush=True)
                figures.extend(measured.figures())
    return figures


def prepare(stage: Stage) -> Iterator[Run]:
    """Start everything that is measured on a database: time-ordered, then scattered."""
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
