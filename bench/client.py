"""The Python client: what `record` costs its caller, and how many events a second one process gets stored.

    python -m bench.client [--short] [--json FILE]

The service runs as usual, on SQLite. The cost is measured with a service that answers, a slow one, and
none, because a caller must not notice the difference; with a usual context and a wide one; and with the events in
memory and in a spool. The rate ends when the last event is stored, and is compared with prepared requests of the same
batches on one connection.
"""

from __future__ import annotations

import http.client
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from bench.databases import Stage, sqlite_stage
from bench.load import PRODUCT, TYPE, context
from bench.report import Figure, Goal, command, progress, say, table
from bench.servers import HOST, ROOT, SERVICE, BenchFailed, Web, free_port

sys.path.insert(0, str(ROOT / "clients" / "python" / "src"))

from tally_client import Tally  # noqa: E402

CUSTOMER = "BARCHART"
COST_GOAL = Goal(15, at_most=True)  # microseconds
RATE_GOAL = Goal(10_000)  # events a second
PROCESSOR_GOAL = Goal(100, at_most=True)  # microseconds an event, of a whole processor for 10,000 a second
EVENTS, EVENTS_SHORT = 200_000, 30_000
ROUNDS, ROUNDS_SHORT = 5, 2
BATCH = 1000
CALLS = 5_000  # that are timed one by one
SLOW_SECONDS = 0.5
PATIENCE_SECONDS = 600
WIDE = 40  # context items of 100 characters


@dataclass(frozen=True)
class Shape:
    """A kind of events."""

    name: str
    contexts: Sequence[Sequence[str]]
    share: float  # of the events of the usual shape, because others cost more


USUAL = Shape("usual", [context(number) for number in range(1000)], 1)
UNFRIENDLY = Shape(
    "wide", [[f"{number}-{item} é".ljust(100, "x") for item in range(WIDE)] for number in range(50)], 0.1
)


def run(short: bool) -> list[Figure]:
    """Measure everything, and print the results."""
    logging.getLogger("tally_client").setLevel(logging.ERROR)  # it warns of services that are down
    rounds = ROUNDS_SHORT if short else ROUNDS
    count = EVENTS_SHORT if short else EVENTS
    with sqlite_stage() as stage:
        service = stage.serve(SERVICE, "service", stage.create("service")[0])
        figures = [*_costs(stage, service, count, rounds), *_rates(stage, service, count, rounds)]
    say(table(["figure", "value", "unit", "of it", "ratio"], [_row(figure) for figure in figures]))
    return figures


def _row(figure: Figure) -> list[str]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return [figure.name, f"{figure.value:,.1f}", figure.unit, figure.against or "", ratio]


def _costs(stage: Stage, service: Web, count: int, rounds: int) -> Iterator[Figure]:
    with _slow_service() as slow:
        ports = {"up": service.port, "slow": slow, "down": free_port()}
        for state, port in ports.items():
            for shape in (USUAL, UNFRIENDLY):
                for where in ("memory", "spool"):
                    progress(f"record, service {state}, {shape.name}, {where}")
                    spool = stage.folder / f"spool-{state}-{shape.name}" if where == "spool" else None
                    costs = [_cost(port, spool, shape, int(count * shape.share)) for _ in range(rounds)]
                    goal = COST_GOAL if shape is USUAL else None
                    name = f"client, record, service {state}, {shape.name}, {where}"
                    against = median(_dump_cost(shape) for _ in range(rounds))
                    spent, call = (median(each) for each in zip(*costs, strict=True))
                    yield Figure(f"{name}, median call", call, "µs", goal=goal)
                    yield Figure(f"{name}, processor of the caller", spent, "µs", goal=goal)
                    yield Figure(f"{name}, the same", spent, "µs", "json.dumps", spent / against)
    progress()


def _cost(port: int, spool: Path | None, shape: Shape, count: int) -> tuple[float, float]:
    """Return the processor time of the calling thread for an event, and the elapsed time of the median call, in
    microseconds.
    """
    tally = Tally(f"http://{HOST}:{port}", spool=spool, exit_seconds=0, overflow="drop-newest")
    contexts, often = shape.contexts, len(shape.contexts)
    began = time.thread_time()
    for number in range(count):
        tally.record(CUSTOMER, PRODUCT, TYPE, *contexts[number % often])
    spent = time.thread_time() - began
    calls = []
    for number in range(CALLS):
        began = time.perf_counter()
        tally.record(CUSTOMER, PRODUCT, TYPE, *contexts[number % often])
        calls.append(time.perf_counter() - began)
    tally.close(0)
    if tally.stats.dropped:
        raise BenchFailed(f"The client dropped events: {tally.stats}")
    return spent / count * 1e6, median(calls) * 1e6


def _dump_cost(shape: Shape) -> float:
    """Return the same for `json.dumps` of the event alone."""
    often = len(shape.contexts)
    event = {"customer": CUSTOMER, "product": PRODUCT, "type": TYPE, "timestamp": int(time.time() * 1000)}
    began = time.thread_time()
    for number in range(5_000):
        json.dumps({**event, "context": shape.contexts[number % often]})
    return (time.thread_time() - began) / 5_000 * 1e6


def _rates(stage: Stage, service: Web, count: int, rounds: int) -> Iterator[Figure]:
    for shape in (USUAL, UNFRIENDLY):
        number = int(count * shape.share) // BATCH * BATCH
        for where in ("memory", "spool"):
            rates, spent, limits = [], [], []
            for turn in range(rounds):
                progress(f"rate, {shape.name}, {where}")
                spool = stage.folder / f"spool-{shape.name}-{turn}" if where == "spool" else None
                rate, processor = _rate(service.port, spool, shape, number)
                rates.append(rate)
                spent.append(processor)
                limits.append(_limit(service.port, shape, number))
            ratio = median(rate / limit for rate, limit in zip(rates, limits, strict=True))
            name = f"client, one process, {shape.name}, {where}"
            yield Figure(name, median(rates), "events/s", goal=RATE_GOAL if shape is USUAL else None)
            yield Figure(f"{name}, the same", median(rates), "events/s", "prepared requests", ratio)
            goal = PROCESSOR_GOAL if shape is USUAL else None
            yield Figure(f"{name}, processor of the process", median(spent), "µs", goal=goal)
    progress()


def _rate(port: int, spool: Path | None, shape: Shape, count: int) -> tuple[float, float]:
    """Return the events a second from the first `record` until the last event is stored, and the processor time of
    this process for an event in microseconds.
    """
    tally = Tally(f"http://{HOST}:{port}", spool=spool, overflow="block")
    often = len(shape.contexts)
    began, processor = time.perf_counter(), time.process_time()
    for number in range(count):
        tally.record(CUSTOMER, PRODUCT, TYPE, *shape.contexts[number % often])
    is_stored = tally.flush(PATIENCE_SECONDS)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    tally.close()
    if not is_stored or tally.stats.sent != count:
        raise BenchFailed(f"Not every event was stored: {tally.stats}")
    return count / seconds, processor / count * 1e6


def _limit(port: int, shape: Shape, count: int) -> float:
    """Return the events a second of prepared requests on one connection, with the client's headers."""
    often = len(shape.contexts)
    event = {"customer": CUSTOMER, "product": PRODUCT, "type": TYPE, "timestamp": int(time.time() * 1000)}
    events = [{**event, "context": shape.contexts[number % often]} for number in range(BATCH)]
    limit = max(1, len(json.dumps(events)) // 2**20)  # of the requests that the client makes of such a batch
    bodies = [json.dumps(events[part::limit]).encode() for part in range(limit)]
    connection = http.client.HTTPConnection(HOST, port)
    began = time.perf_counter()
    for turn in range(count // BATCH):
        for part, body in enumerate(bodies):
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"{began}-{turn}-{part}"}
            connection.request("POST", "/events", body, {**headers, "Prefer": "handling=lenient"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise BenchFailed(f"A prepared request was answered {response.status}.")
    seconds = time.perf_counter() - began
    connection.close()
    return count / seconds


@contextmanager
def _slow_service() -> Iterator[int]:
    """Serve something that stores nothing, after a while, and return its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(SLOW_SECONDS)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    command("bench.client", "The Python client.", run)
