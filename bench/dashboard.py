"""The dashboard: p50 and p95 of every page, with few stored events and with very many.

    python -m bench.dashboard [--short] [--json FILE]

The complete service on both databases, with 100,000 and 10 million events of 90 days; the short form has a million
instead of ten, and fewer rounds. Pages are found by their links, and those without links are listed. The time is a
client's on the same machine, from the request to the last byte. Pages are requested in turn, so that values cached for
two seconds have mostly expired.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles

from werkzeug.routing import Map

from app import create_app
from app.config import Settings
from app.services.people.principal import SYSTEM
from app.store import database
from app.store.catalog import catalog
from app.store.events import hourly_counts
from app.store.events import pages as feed
from bench.dashboard_client import Visitor
from bench.databases import STAGES, Stage
from bench.load import CUSTOMERS, PRODUCT, TYPE
from bench.report import Figure, Goal, command, progress, say, table
from bench.service import whole

FEW, MANY, MANY_SHORT = 100_000, 10_000_000, 1_000_000
ROUNDS, ROUNDS_SHORT = 20, 10
ROUND_SECONDS = 2.2  # longer than a page caches its counts
PAGE_GOAL = Goal(100, at_most=True)  # milliseconds
SEARCH_GOAL = Goal(500, at_most=True)  # a search looks at 20,000 events, and says so
SEARCHES = "search"  # in the name of a page that searches
REJECTED = 200
SECRET = "of the benchmark alone"
DAY = 86_400_000


def run(short: bool) -> list[Figure]:
    """Measure both databases, and print every page."""
    figures = []
    for stage in STAGES:
        for count in (FEW, MANY_SHORT if short else MANY):
            with stage() as opened:
                figures += list(_measure(opened, count, ROUNDS_SHORT if short else ROUNDS))
    progress()
    return figures


def _measure(stage: Stage, count: int, rounds: int) -> Iterator[Figure]:
    progress(f"{stage.database}: filling a table with {count:,} events")
    url, events = stage.create("dashboard")
    events.fill(count)
    extra = _prepared(url)
    with whole(stage.folder / "service", url) as service:
        service.refuse(REJECTED)
        _furnish(url)
        visitor = Visitor(service.port)
        visitor.sign_in()
        rules = _rules()
        pages = dict(visitor.find(rules, "/admin/")) | extra
        times = page_times(visitor, pages, rounds, f"{stage.database}, {count:,} events")
    yield from _figures(f"{stage.database}, {count:,} events", times)
    missed = sorted(set(_wanted(rules)) - set(pages))
    say(f"{stage.database}, {count:,} events: no link led to {', '.join(missed) or 'nothing that was missed'}.\n")


def _prepared(url: str) -> dict[str, str]:
    """Count and record what ingestion would have; return the pages without links by name."""
    database.open_database(url)
    catalog.note_seen([(one, PRODUCT, kind, 3) for one in CUSTOMERS for kind in (TYPE, "RARE")], 0)
    progress("Counting the events by hour")
    while hourly_counts.advance():
        pass
    newest = feed.page(feed.EventFilter(), 1)[0][4]
    deep = f"{newest - 85 * DAY}-0"
    database.release()
    return {
        "the overview, 30 days by type": "/admin/?range=30d&by=type",
        "the overview, last hour": "/admin/?range=1h",
        "the overview, 80 days": f"/admin/?start={newest - 80 * DAY}&end={newest}",
        "events of a customer": f"/admin/events?customer={CUSTOMERS[0]}",
        "events of a rare type": "/admin/events?types=RARE",
        "events far back": f"/admin/events?after={deep}",
        "events in front of those": f"/admin/events?before={deep}",
        f"events, a {SEARCHES} that finds": "/admin/events?text=user-99",
        f"events, a {SEARCHES} that finds nothing": f"/admin/events?customer={CUSTOMERS[0]}&text=nothing",
        f"events of a rare type, a {SEARCHES}": "/admin/events?types=RARE&text=nothing",
    }


def _furnish(url: str) -> None:
    """Create a recurring report that has run, and a key, because some pages need them."""
    services = create_app(Settings(database_url=url, secret_key=SECRET)).extensions["services"]
    admin = next(one for one in services.accounts.everyone() if one.name == "admin")
    wanted = {"name": "every day", "filter": {"customer": CUSTOMERS[0], "product": PRODUCT, "types": ["RARE"]}}
    made = services.schedules.add(admin, wanted | {"recurrence": "daily", "hour": 6, "mode": "period"}).schedule
    services.schedule_runs.run(SYSTEM, made)
    services.ingest_keys.add("of the benchmark", (), (), by=admin)
    database.release()


def _rules() -> Map:
    """Return the service's own Flask application, which does not connect to anything."""
    return create_app(Settings(secret_key=SECRET)).url_map


def _wanted(rules: Map) -> Iterator[str]:
    for rule in rules.iter_rules():
        if rule.endpoint.startswith("admin.") and "GET" in rule.methods and rule.endpoint != "admin.sign_in":
            yield rule.rule


def page_times(visitor: Visitor, pages: Mapping[str, str], rounds: int, where: str) -> dict[str, list[float]]:
    """Return the milliseconds of each page in each round, without the first, which fills the caches."""
    times: dict[str, list[float]] = {name: [] for name in pages}
    for number in range(rounds + 1):
        progress(f"{where}: {len(pages)} pages, round {number} of {rounds}")
        until = time.monotonic() + ROUND_SECONDS
        for name, address in pages.items():
            visitor.see(address)
            if number:
                times[name].append(visitor.spent)
        time.sleep(max(0, until - time.monotonic()))
    return times


def _figures(where: str, times: Mapping[str, Sequence[float]]) -> Iterator[Figure]:
    """Return a figure for each page, and one with a goal for the slowest."""
    spent = {name: (median(some), quantiles(some, n=20)[-1]) for name, some in times.items()}
    rows = [
        [name, f"{p50:.0f}", f"{p95:.0f}"] for name, (p50, p95) in sorted(spent.items(), key=lambda one: -one[1][1])
    ]
    say(f"{table((where, 'p50 ms', 'p95 ms'), rows)}\n")
    for name, (p50, p95) in spent.items():
        yield Figure(f"{name}, {where}, p50", p50, "ms")
        yield Figure(f"{name}, {where}, p95", p95, "ms")
    for kind, goal in (("page", PAGE_GOAL), ("search", SEARCH_GOAL)):
        some = {name: p95 for name, (_, p95) in spent.items() if (SEARCHES in name) == (kind == "search")}
        slowest = max(some, key=some.__getitem__)
        yield Figure(f"slowest {kind} of {len(some)}, {where}: {slowest}, p95", some[slowest], "ms", goal=goal)


if __name__ == "__main__":
    command("bench.dashboard", "The time of every page of the dashboard.", run)
