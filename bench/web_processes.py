"""Web processes: events per second of 1, 2 and 4 of them over one PostgreSQL, and their processor time for each event.

    python -m bench.web_processes [--short] [--json FILE]

Each number of processes is a service of its own over the same database. Rounds are interleaved, and a ratio is the
median of the rounds. On a machine with fewer processors than processes, the load generator, the server and the
processes share them, so the rate cannot grow in proportion; the processor time of an event shows what the machine
would need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from bench.db_baseline import PostgresTable
from bench.load import load
from bench.processes import processor_seconds
from bench.report import Figure, command, progress, table
from bench.servers import SERVICE, Web, migrate, postgres, web, workspace

PROCESSES = (1, 2, 4)
BATCHES = (1, 100)
ROUNDS, ROUNDS_SHORT = 7, 3
SECONDS, SECONDS_SHORT = 3.0, 1.0


@dataclass
class Measured:
    """Rounds of one number of processes at one size of batches."""

    rates: list[float] = field(default_factory=list)  # events per second
    costs: list[float] = field(default_factory=list)  # processor microseconds per event, of the web processes

    def measure(self, server: Web, batch: int, seconds: float) -> None:
        """Measure another round."""
        before = processor_seconds(server.pid)
        outcome = load(server.port, batch, seconds)
        self.rates.append(outcome.rate)
        self.costs.append((processor_seconds(server.pid) - before) / outcome.events * 1e6)


def run(short: bool) -> list[Figure]:
    """Measure, and print the results."""
    rounds, seconds = (ROUNDS_SHORT, SECONDS_SHORT) if short else (ROUNDS, SECONDS)
    with workspace() as folder, postgres(folder) as database, ExitStack() as opened:
        url = database.create("tally")
        migrate(url)
        events = PostgresTable(url)
        opened.callback(events.close)
        servers = {
            number: opened.enter_context(web(SERVICE, folder / str(number), url, number)) for number in PROCESSES
        }
        found = {(number, batch): Measured() for number in PROCESSES for batch in BATCHES}
        for server in servers.values():
            load(server.port, 1, seconds)
        for place in range(rounds):
            for (number, batch), measured in found.items():
                progress(f"web processes, round {place + 1} of {rounds}: {number}, batch {batch}")
                events.clear()
                measured.measure(servers[number], batch, seconds)
        progress()
    print(_table(found), flush=True)
    return list(_figures(found))


def _ratio(found: dict[tuple[int, int], Measured], number: int, batch: int) -> float:
    pairs = zip(found[number, batch].rates, found[1, batch].rates, strict=True)
    return median(rate / one for rate, one in pairs)


def _figures(found: dict[tuple[int, int], Measured]) -> Iterator[Figure]:
    for (number, batch), measured in found.items():
        name, against = f"{number} web processes, batch {batch}", None if number == 1 else "1 web process"
        ratio = None if number == 1 else _ratio(found, number, batch)
        yield Figure(name, median(measured.rates), "events/s", against, ratio)
        yield Figure(f"{name}, processor time of an event", median(measured.costs), "µs")


def _table(found: dict[tuple[int, int], Measured]) -> str:
    rows = [
        [str(number), str(batch), f"{median(measured.rates):,.0f}", f"{_ratio(found, number, batch):.2f}"]
        + [f"{median(measured.costs):.1f}"]
        for (number, batch), measured in found.items()
    ]
    return table(["web processes", "batch", "events/s", "against one", "µs of processor an event"], rows)


if __name__ == "__main__":
    command("bench.web_processes", "Ingestion of 1, 2 and 4 web processes over one PostgreSQL.", run)
