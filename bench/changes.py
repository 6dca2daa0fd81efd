"""Following events: how fast stored ones are read, how soon a new one is delivered, and what waiting costs ingestion.

    python -m bench.changes [--short] [--json FILE]

The complete service on both databases. The waiting requests are for a type that does not occur before the end of a
round, so that each waits for its whole time, and begins again, as a follower of a quiet product does. Their clients run
in a process of their own. Ingestion with and without them is measured in turns; a ratio is the median of the rounds.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles
from urllib.parse import urlencode

from app.store import database
from app.store.catalog import catalog
from bench.databases import Stage, measure_each
from bench.load import CUSTOMERS, PRODUCT, TYPE, load
from bench.report import Figure, Goal, command, progress
from bench.servers import HOST
from bench.service import AUTHORIZATION, whole

EVENTS, EVENTS_SHORT = 1_000_000, 100_000
DELIVERIES, DELIVERIES_SHORT = 100, 20
ROUNDS, ROUNDS_SHORT = 5, 3
WAITERS = 64
LIMIT = 1_000
SECONDS = 5
BATCH, CONNECTIONS = 1, 16
WAIT_SECONDS = 30
RARE = "RARE"
DELIVERED, RATE, LATENCY = Goal(1_000, at_most=True), Goal(0.9), Goal(1.5, at_most=True)
EVENT = {"customer": CUSTOMERS[0], "product": PRODUCT, "type": TYPE, "timestamp": 1_793_000_000_000, "context": []}


class Follower:
    """A connection to the service."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=WAIT_SECONDS * 2)

    def ask(self, **query: object) -> dict:
        """Return the changes after a cursor."""
        self._connection.request("GET", f"/events/changes?{urlencode(query)}", headers={"Authorization": AUTHORIZATION})
        return json.loads(self._connection.getresponse().read())

    def send(self, type_: str = TYPE) -> None:
        """Store an event."""
        body = json.dumps([EVENT | {"type": type_}])
        self._connection.request("POST", "/events", body, {"Content-Type": "application/json"})
        self._connection.getresponse().read()


def run(short: bool) -> list[Figure]:
    """Measure both databases."""
    return measure_each(lambda stage: _measure(stage, short=short))


def _measure(stage: Stage, *, short: bool) -> Iterator[Figure]:
    count = EVENTS_SHORT if short else EVENTS
    progress(f"{stage.database}: filling a table with {count:,} events")
    url, table = stage.create("changes")
    table.fill(count)
    database.open_database(url)
    catalog.note_seen([(CUSTOMERS[0], PRODUCT, RARE, 0)], 0)
    database.release()
    with whole(stage.folder / "service", url) as service:
        where = stage.database
        yield Figure(f"following, {where}, {count:,} events", _followed(service.port, count), "events/s")
        delivered = _delivered(service.port, DELIVERIES_SHORT if short else DELIVERIES)
        yield Figure(f"from commit to delivery, {where}, p95", delivered, "ms", goal=DELIVERED)
        yield from _beside_waiters(service.port, where, ROUNDS_SHORT if short else ROUNDS)


def _followed(port: int, count: int) -> float:
    progress("Following the stored events")
    follower, read, query = Follower(port), 0, {}
    began = time.perf_counter()
    while read < count:
        page = follower.ask(limit=LIMIT, **query)
        read, query = read + len(page["events"]), {"after": page["next"]}
    return read / (time.perf_counter() - began)


def _delivered(port: int, times: int) -> float:
    """Return the milliseconds from the response to a POST to the response of a request that waits for its event."""
    progress("Waiting for single events")
    follower, sender = Follower(port), Follower(port)
    cursor, spent = follower.ask(after="now")["next"], []
    for number in range(times):
        arrived: list[float] = []
        pages: list[dict] = []

        def wait(after: str = cursor, pages: list[dict] = pages, arrived: list[float] = arrived) -> None:
            pages.append(follower.ask(after=after, wait=WAIT_SECONDS))
            arrived.append(time.perf_counter())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2 + number % 10 * 0.05)  # at every phase of the service's looks
        sender.send()
        sent = time.perf_counter()
        thread.join()
        cursor = pages[0]["next"]
        spent.append((arrived[0] - sent) * 1000)
    return quantiles(spent, n=20)[-1]


def _beside_waiters(port: int, where: str, rounds: int) -> Iterator[Figure]:
    pairs = []
    load(port, BATCH, 1, CONNECTIONS)
    for number in range(rounds):
        progress(f"{where}: ingestion beside {WAITERS} waiting requests, round {number + 1} of {rounds}")
        alone = load(port, BATCH, SECONDS, CONNECTIONS)
        with _waiters(port):
            pairs.append((load(port, BATCH, SECONDS, CONNECTIONS), alone))
    name, against = f"ingest, {where}, batch {BATCH}, beside {WAITERS} waiting requests", "alone"
    rates = [beside.rate / alone.rate for beside, alone in pairs]
    medians = [beside.median_ms / alone.median_ms for beside, alone in pairs]
    tails = [beside.p99_ms / alone.p99_ms for beside, alone in pairs]
    yield Figure(name, median(one.rate for one, _ in pairs), "events/s", against, median(rates), RATE)
    yield Figure(f"{name}: p50", median(one.median_ms for one, _ in pairs), "ms", against, median(medians))
    yield Figure(f"{name}: p99", median(one.p99_ms for one, _ in pairs), "ms", against, median(tails), LATENCY)


@contextmanager
def _waiters(port: int) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_wait, args=(port, ready, stop), daemon=True)
    process.start()
    ready.wait(60)
    try:
        yield
    finally:
        stop.set()
        process.join()


def _wait(port: int, ready: threading.Event, stop: threading.Event) -> None:
    """Keep the requests waiting until the end of a round."""

    def follow() -> None:
        follower = Follower(port)
        cursor = follower.ask(after="now")["next"]
        while not stop.is_set():
            cursor = follower.ask(after=cursor, types=RARE, wait=WAIT_SECONDS)["next"]

    threads = [threading.Thread(target=follow, daemon=True) for _ in range(WAITERS)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    ready.set()
    stop.wait()
    Follower(port).send(RARE)  # answers them all
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    command("bench.changes", "Following events, and what waiting for them costs.", run)
