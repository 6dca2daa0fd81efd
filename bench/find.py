"""Find: what the index of context items costs ingestion on PostgreSQL, and how long it takes to find a value.

    python -m bench.find [--short] [--json FILE]

Two databases are served, one of them without the index, and take batches of 100 in turns. Then values are found among
all events, without the web server: a value of one event near the beginning, a frequent one, and one that is missing;
and everything about a person, which reads every event.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from statistics import median

from app import create_app
from app.config import Settings
from app.services.events.rejected import Origin
from app.services.people.principal import SYSTEM
from app.store import database
from app.store.events.filters import EventFilter
from bench import scattered
from bench.databases import Stage, postgres_stage
from bench.load import Requests, load
from bench.report import Figure, Goal, command, progress
from bench.servers import SERVICE

STORED, STORED_SHORT = 5_000_000, 500_000
BATCH, SECONDS, ROUNDS, LOOKS = 100, 4, 7, 5
SHAPES = {"": Requests, ", scattered": scattered.Requests}
INGESTION = Goal(0.95)
LOOK_UP = Goal(500, at_most=True)  # milliseconds
PERSON = Goal(20_000, at_most=True)  # milliseconds, after which a search on the page ends
SECRET = "of the benchmark alone"
RARE = {"customer": "RARE", "product": "RARE", "type": "RARE", "timestamp": 1_790_000_000_000, "context": ["only-once"]}


def run(short: bool) -> list[Figure]:
    """Measure ingestion, then the search."""
    with postgres_stage() as stage:
        figures = list(_ingestion(stage, 3 if short else ROUNDS))
        figures += _look_ups(stage, STORED_SHORT if short else STORED)
    progress()
    return figures


def _ingestion(stage: Stage, rounds: int) -> Iterator[Figure]:
    for shape, requests in SHAPES.items():
        servers = {}
        for name in ("plain", "indexed"):
            url, _ = stage.create(f"{name}{len(shape)}")
            if name == "indexed":
                database.open_database(url)
                database.index_items()
                database.release()
            servers[name] = stage.serve(SERVICE, f"{name}{len(shape)}", url)
            load(servers[name].port, BATCH, 1, shape=requests)  # warms up
        pairs = []
        for number in range(rounds):
            progress(f"Ingestion{shape}, round {number + 1} of {rounds}")
            rates = {name: load(server.port, BATCH, SECONDS, shape=requests).rate for name, server in servers.items()}
            pairs.append(rates)
        rate, ratio = (
            median(pair["indexed"] for pair in pairs),
            median(pair["indexed"] / pair["plain"] for pair in pairs),
        )
        name = f"ingest with the index of context items, batch {BATCH}{shape}"
        yield Figure(name, rate, "events/s", "without", ratio, INGESTION)


def _look_ups(stage: Stage, stored: int) -> Iterator[Figure]:
    progress(f"Filling a table with {stored:,} events")
    url, table = stage.create("found")
    settings = Settings(database_url=url, secret_key=SECRET, data_dir=stage.folder / "var")  # whose spool is emptied
    services = create_app(settings).extensions["services"]
    services.ingest.accept(json.dumps([RARE]).encode(), Origin("", ""))
    table.fill(stored)
    services.scheduler.count()
    began = time.perf_counter()
    database.index_items()
    yield Figure(f"index of {stored:,} events, created while events may be stored", time.perf_counter() - began, "s")
    [newest] = services.listing.page(SYSTEM, EventFilter(), 1).events
    frequent = newest.context[-1]
    for name, value in {"of one event": "only-once", "frequent": frequent, "missing": "nowhere"}.items():
        spent = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            page = services.listing.page(SYSTEM, services.catalog.event_filter(SYSTEM, {"value": value}), 50)
            spent.append((time.perf_counter() - began) * 1000)
        found = f"{len(page.events)} found" + (", and more to search" if page.next else "")
        yield Figure(f"value {name}, any item of {stored:,} events: {found}", median(spent), "ms", goal=LOOK_UP)
    began = time.perf_counter()
    events = services.personal_data.find(SYSTEM, {"value": "only-once"}).total.events
    spent = (time.perf_counter() - began) * 1000
    yield Figure(f"personal data, {events} of {stored:,} events", spent, "ms", goal=PERSON)
    database.release()


if __name__ == "__main__":
    command("bench.find", "What finding events by a context value costs, and takes.", run)
