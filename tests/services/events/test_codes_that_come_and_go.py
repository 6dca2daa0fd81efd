"""Every stored event is found by its filter and complete in its report, despite failures while it was stored.

Readers rely on the observed codes and the widths of their contexts, which are stored beside the events. In this test
two processes send concurrently under shared keys. The database becomes unavailable, loses commits and comes back.
Events are spooled, delivered, erased and sent again.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import threading
from collections import Counter
from contextlib import closing, suppress

import pytest

from app.exceptions import KeyReused, OutcomeUnknown, StoreUnavailable
from app.services import build
from app.services.events.rejected import Origin
from app.services.people.principal import SYSTEM
from app.store.database import database, release
from app.store.events import erase as erasing
from app.store.events import hourly_counts, pages
from app.store.events.filters import EventFilter
from app.store.models import IdempotencyKey, ObservedCode, Report
from tests.support.client import FIRST, event
from tests.support.outages import before
from tests.support.pace import SOAK
from tests.support.running import wait_until
from tests.support.threads import at_once

pytestmark = pytest.mark.settings(spool=True)

SEEDS = range(40) if SOAK else (9, 28)
STEPS = 25
CODES = [f"{name}{number}" for name, number in itertools.product("AB", range(5))]
StoredEvents = list[tuple[int, int, str, str, str, list[str | None]]]  # timestamp, id, customer, product, type, context


class Unreliable:
    """Makes the database unreliable for its writers: it is unavailable, loses commits or does not answer.

    Attributes:
        away: whether the database rejects new transactions.
        doubtful: number of the next commits that are neither executed nor answered.
    """

    def __init__(self, monkeypatch) -> None:
        self.away = False
        self.doubtful = 0
        self._life = 0
        self._lives: dict[int, int] = {}  # the generation of the database in which each thread opened its connection
        before(monkeypatch, "begin_group", self._begin_group)
        before(monkeypatch, "commit_group", self._commit_group)
        monkeypatch.setattr("app.store.events.writer.AWAY_SECONDS", 0.01)
        monkeypatch.setattr("app.store.events.writer.IDLE_SECONDS", 0.01)
        monkeypatch.setattr("app.store.events.writer.PAUSES", (0.01,))

    def _begin_group(self) -> None:
        thread = threading.get_ident()
        is_broken = self._lives.get(thread, self._life) != self._life
        self._lives[thread] = self._life
        if self.away or is_broken:
            raise StoreUnavailable("It is away.")

    def _commit_group(self) -> None:
        if self.doubtful:
            self.doubtful -= 1
            raise StoreUnavailable("It did not answer.")

    def break_connections(self) -> None:
        self._life += 1


class World:
    """Two processes that use one database, and the responses to the bodies that they sent."""

    def __init__(self, services, settings, unreliable: Unreliable, chance: random.Random) -> None:
        self._services = services
        self._processes = [services.ingest, build(settings).ingest]
        self._unreliable = unreliable
        self._chance = chance
        self._marks = itertools.count()
        self._keyed: dict[str, list[tuple[str, bytes]]] = {}
        self.acknowledged: set[str] = set()
        self.uncertain: set[str] = set()
        self.sizes: dict[str, int] = {}

    def _body(self) -> tuple[str, bytes]:
        chance, mark = self._chance, f"body {next(self._marks)}"
        self.sizes[mark] = chance.randint(1, 4)
        events = [
            event(
                customer=chance.choice(CODES),
                product=chance.choice(CODES[:3]),
                type=chance.choice(CODES),
                timestamp=FIRST + chance.randrange(3) * hourly_counts.HOUR_MS,
                context=[mark, *["item", None] * chance.randint(0, 3)][: chance.randint(1, 6)],
            )
            for _ in range(self.sizes[mark])
        ]
        return mark, json.dumps(events).encode()

    def send(self) -> None:
        """Send several requests from both processes concurrently, some of them under a shared key."""
        requests = []
        for _ in range(self._chance.randint(2, 5)):
            key = self._chance.choice([None, None, "k1", "k2", f"k{next(self._marks)}"])
            bodies = self._keyed.setdefault(key, [self._body(), self._body()]) if key else [self._body()]
            requests.append((self._chance.choice(self._processes), key, *self._chance.choice(bodies)))
        at_once(len(requests), lambda number: self._send_one(*requests[number]))

    def _send_one(self, process, key: str | None, mark: str, body: bytes) -> None:
        try:
            if not process.accept(body, Origin("", ""), key=key).replayed:
                self.acknowledged.add(mark)
        except OutcomeUnknown:
            self.uncertain.add(mark)
        except (KeyReused, StoreUnavailable):
            return

    def go_away(self) -> None:
        self._unreliable.away = True

    def come_back(self) -> None:
        self._unreliable.away = False

    def leave_in_doubt(self) -> None:
        self._unreliable.doubtful = self._chance.randint(1, 3)

    def fail_over(self) -> None:
        """Simulate a failover to a server that lacks the last commits."""
        newest_id = database.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
        saved_rows = {table: list(table.select().dicts()) for table in (ObservedCode, IdempotencyKey)}
        self.send()
        self.release()
        self.uncertain |= set(self.sizes)
        with database.atomic():
            database.execute_sql(f"DELETE FROM event WHERE id > {newest_id}")
            for table, rows in saved_rows.items():
                table.delete().execute()
                for row in rows:
                    table.insert({name: value for name, value in row.items() if name != "id"}).execute()
        self._unreliable.break_connections()

    def erase(self) -> None:
        """Erase the events of some codes while others are being sent."""
        customer, kind = self._chance.choice(CODES), self._chance.choice(CODES)

        def erase_or_send(number: int) -> None:
            if number:
                self.send()
            else:
                sum(erasing.erase(EventFilter(customer, types=(kind,), snapshot_max_id=erasing.counted_cut())))

        at_once(2, erase_or_send)
        self.uncertain |= set(self.sizes)

    def count(self) -> None:
        self._services.scheduler.count()

    def release(self) -> None:
        """End the outage, and wait until all spooled events are delivered."""
        self._unreliable.away, self._unreliable.doubtful = False, 0

        def is_empty() -> bool:
            with suppress(StoreUnavailable):
                self._services.spool.deliver()
            return not self._services.spool.waiting()

        wait_until(is_empty, 20)
        release()

    def check(self) -> None:
        """Check that the stored events are those that were acknowledged, and that readers find them."""
        rows = stored_events()
        stored = Counter(context[0] for *_, context in rows)
        assert all(stored[mark] <= size for mark, size in self.sizes.items()), "stored twice"
        for mark in self.acknowledged - self.uncertain:
            assert stored[mark] == self.sizes[mark], f"{mark} was answered 200 and is not there"
        for code in CODES:
            self._check_found(EventFilter(types=[code]), [row for row in rows if row[4] == code])
            self._check_found(EventFilter(customer=code), [row for row in rows if row[2] == code])
        self._check_found(EventFilter(product=CODES[0]), [row for row in rows if row[3] == CODES[0]])
        pairs = sorted({row[2:4] for row in rows})
        for customer, product in self._chance.sample(pairs, min(8, len(pairs))):
            types = self._chance.choice([None, [self._chance.choice(rows)[4]]])
            matching = [row for row in rows if row[2:4] == (customer, product) and (not types or row[4] in types)]
            self._check_report(customer, product, types, matching)

    def _check_found(self, event_filter: EventFilter, rows: StoredEvents) -> None:
        assert pages.positions(event_filter, 10_000) == [row[:2] for row in reversed(rows)], event_filter

    def _check_report(self, customer: str, product: str, types: list[str] | None, rows: StoredEvents) -> None:
        report_filter = {"customer": customer, "product": product} | ({"types": types} if types else {})
        job = self._services.reports.start(SYSTEM, report_filter, None).job
        assert self._services.runner.run(job)
        with closing(self._services.reports.open(Report.get(Report.job == job))) as file:
            file_rows = list(csv.reader(io.StringIO(file.read().decode()), delimiter="|"))
        width = max((len(row[5]) for row in rows), default=0)
        cells = [[str(at), kind, *[item or "" for item in items]] for at, _, _, _, kind, items in rows]
        assert file_rows == [row + [""] * (2 + width - len(row)) for row in cells]


def stored_events() -> StoredEvents:
    """Return all stored events in the order of reports."""
    query = "SELECT timestamp, id, customer, product, type, context FROM event ORDER BY timestamp, id"
    rows = database.execute_sql(query).fetchall()
    return [(*row, json.loads(items) if isinstance(items, str) else items) for *row, items in rows]


@pytest.fixture
def unreliable(app, monkeypatch) -> Unreliable:
    return Unreliable(monkeypatch)


def send(services, *, key: str | None = None, **changes: object) -> bool:
    """Send an event with a context of two items, and return whether it was accepted."""
    try:
        services.ingest.accept(json.dumps([event(**changes)]).encode(), Origin("", ""), key=key)
    except (KeyReused, StoreUnavailable):
        return False
    finally:
        release()
    return True


def observed_customers(services) -> set[str]:
    """Return the observed customers in the database."""
    try:
        return {customer for (customer,) in ObservedCode.select(ObservedCode.customer).tuples()}
    finally:
        release()


def test_a_request_that_lost_the_race_for_a_key_does_not_mark_its_codes_as_observed(services, unreliable, monkeypatch):
    assert send(services, key="k", customer="FIRST")
    with monkeypatch.context() as patch:
        patch.setattr("app.store.events.idempotency.find", lambda key: None)  # both requests arrive at once
        assert not send(services, key="k", customer="SECOND")
    assert send(services, customer="SECOND")
    assert observed_customers(services) == {"FIRST", "SECOND"}


def test_a_spooled_event_does_not_mark_its_codes_as_observed(services, unreliable):
    unreliable.away = True
    assert send(services)
    unreliable.away = False
    wait_until(lambda: send(services) and observed_customers(services) == {"BARCHART"}, 10)


def test_a_filter_accepts_codes_that_are_stored_but_not_yet_observed(services, unreliable, admin):
    assert send(services, customer="C", product="P", type="T")
    database.execute_sql("DELETE FROM observed_code")
    release()
    for query in ("customer=C", "product=P", "types=T", "customer=C&product=P&types=T"):
        assert len(admin.get(f"/events?{query}").get_json()["events"]) == 1, query
    assert admin.get("/events?types=NOWHERE").status_code == 400
    services.scheduler.count()
    assert len(admin.get("/events?types=T").get_json()["events"]) == 1, "whoever counted it noted it"


@pytest.mark.parametrize("breaks", [True, False], ids=["and the connection with it", "by a restore that breaks none"])
def test_observed_codes_that_the_database_lost_are_recorded_again(services, unreliable, monkeypatch, breaks):
    assert send(services)
    database.execute_sql("DELETE FROM observed_code")
    release()
    if breaks:
        unreliable.break_connections()
        wait_until(lambda: send(services) and observed_customers(services), 10)
    else:
        assert send(services)
        assert not observed_customers(services), "it need not look each time"
        services.ingest._writer._noted._until = 0.0  # a minute later
        assert send(services)
        assert observed_customers(services)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_stored_event_is_found_by_its_filter_and_complete_in_its_report(services, settings, monkeypatch, seed):
    chance = random.Random(seed)
    world = World(services, settings, Unreliable(monkeypatch), chance)
    steps = [world.go_away, world.come_back, world.leave_in_doubt, world.fail_over, world.erase, world.count]
    for number in range(STEPS):
        chance.choice([world.send, world.send, *steps])()
        if number % 8 == 7:
            world.release()
            world.check()
    world.release()
    world.check()
