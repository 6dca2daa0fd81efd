"""Whatever happens on its way in, every stored event is found by its filter, and stands whole in its report.

Which codes there are, and how wide their contexts, is noted beside the events; readers go by that. Here two processes
send at once, under keys that others use as well; the database goes away, loses what it had committed, and comes back;
events are spooled, delivered, erased and sent again.
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
Truth = list[tuple[int, int, str, str, str, list[str | None]]]  # timestamp, id, customer, product, type, context


class Unreliable:
    """The database, as the writers see it: it goes away, loses commits, and says nothing of some.

    Attributes:
        away: it takes no events.
        doubtful: how many of the next commits are not answered, nor done.
    """

    def __init__(self, monkeypatch) -> None:
        self.away = False
        self.doubtful = 0
        self._life = 0
        self._lives: dict[int, int] = {}  # in which life of the database each thread opened its connection
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
    """Two processes before one database, and what they were told of each body that they sent."""

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
        """Both processes at once, several times; some under one key, with the same body or another."""
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
        """To a server that lacks the last commits: what they wrote is gone."""
        before = database.execute_sql("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
        kept = {table: list(table.select().dicts()) for table in (ObservedCode, IdempotencyKey)}
        self.send()
        self.release()
        self.uncertain |= set(self.sizes)
        with database.atomic():
            database.execute_sql(f"DELETE FROM event WHERE id > {before}")
            for table, rows in kept.items():
                table.delete().execute()
                for row in rows:
                    table.insert({name: value for name, value in row.items() if name != "id"}).execute()
        self._unreliable.break_connections()

    def erase(self) -> None:
        """Some codes, while others send."""
        customer, kind = self._chance.choice(CODES), self._chance.choice(CODES)

        def act(number: int) -> None:
            if number:
                self.send()
            else:
                sum(erasing.erase(EventFilter(customer, types=(kind,), snapshot_max_id=erasing.counted_cut())))

        at_once(2, act)
        self.uncertain |= set(self.sizes)

    def count(self) -> None:
        self._services.scheduler._count()

    def release(self) -> None:
        """Everything that waits is delivered."""
        self._unreliable.away, self._unreliable.doubtful = False, 0

        def is_empty() -> bool:
            with suppress(StoreUnavailable):
                self._services.health._event_spool.deliver()
            return not self._services.health._event_spool.waiting()

        wait_until(is_empty, 20)
        release()

    def check(self) -> None:
        """That what is stored is what was answered, and that readers find it."""
        rows = truth()
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
            its = [row for row in rows if row[2:4] == (customer, product) and (not types or row[4] in types)]
            self._check_report(customer, product, types, its)

    def _check_found(self, wanted: EventFilter, rows: Truth) -> None:
        assert pages.positions(wanted, 10_000) == [row[:2] for row in reversed(rows)], wanted

    def _check_report(self, customer: str, product: str, types: list[str] | None, rows: Truth) -> None:
        wanted = {"customer": customer, "product": product} | ({"types": types} if types else {})
        job = self._services.reports.start(SYSTEM, wanted, None).job
        assert self._services.runner.run(job)
        with closing(self._services.reports.open(Report.get(Report.job == job))) as file:
            found = list(csv.reader(io.StringIO(file.read().decode()), delimiter="|"))
        width = max((len(row[5]) for row in rows), default=0)
        cells = [[str(at), kind, *[item or "" for item in items]] for at, _, _, _, kind, items in rows]
        assert found == [row + [""] * (2 + width - len(row)) for row in cells]


def truth() -> Truth:
    """All that is stored, in the order of reports."""
    query = "SELECT timestamp, id, customer, product, type, context FROM event ORDER BY timestamp, id"
    rows = database.execute_sql(query).fetchall()
    return [(*row, json.loads(items) if isinstance(items, str) else items) for *row, items in rows]


@pytest.fixture
def unreliable(app, monkeypatch) -> Unreliable:
    return Unreliable(monkeypatch)


def send(services, *, key: str | None = None, **changes: object) -> bool:
    """Whether an event with a context of two items was taken."""
    try:
        services.ingest.accept(json.dumps([event(**changes)]).encode(), Origin("", ""), key=key)
    except (KeyReused, StoreUnavailable):
        return False
    finally:
        release()
    return True


def noted(services) -> set[str]:
    """The customers that the database has as seen."""
    try:
        return {customer for (customer,) in ObservedCode.select(ObservedCode.customer).tuples()}
    finally:
        release()


def test_a_request_that_lost_the_race_for_a_key_teaches_its_process_nothing(services, unreliable, monkeypatch):
    assert send(services, key="k", customer="FIRST")
    with monkeypatch.context() as patch:
        patch.setattr("app.store.events.idempotency.find", lambda key: None)  # it came at the same moment
        assert not send(services, key="k", customer="SECOND")
    assert send(services, customer="SECOND")
    assert noted(services) == {"FIRST", "SECOND"}


def test_what_was_spooled_teaches_its_process_nothing(services, unreliable):
    unreliable.away = True
    assert send(services)
    unreliable.away = False
    wait_until(lambda: send(services) and noted(services) == {"BARCHART"}, 10)


def test_a_filter_names_codes_of_events_that_nobody_noted_yet(services, unreliable, admin):
    assert send(services, customer="C", product="P", type="T")
    database.execute_sql("DELETE FROM observed_code")
    release()
    for query in ("customer=C", "product=P", "types=T", "customer=C&product=P&types=T"):
        assert len(admin.get(f"/events?{query}").get_json()["events"]) == 1, query
    assert admin.get("/events?types=NOWHERE").status_code == 400
    services.scheduler._count()
    assert len(admin.get("/events?types=T").get_json()["events"]) == 1, "whoever counted it noted it"


@pytest.mark.parametrize("breaks", [True, False], ids=["and the connection with it", "by a restore that breaks none"])
def test_what_the_database_lost_is_noted_again(services, unreliable, monkeypatch, breaks):
    assert send(services)
    database.execute_sql("DELETE FROM observed_code")
    release()
    if breaks:
        unreliable.break_connections()
        wait_until(lambda: send(services) and noted(services), 10)
    else:
        assert send(services)
        assert not noted(services), "it need not look each time"
        services.ingest._writer._noted._until = 0.0  # a minute later
        assert send(services)
        assert noted(services)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_stored_event_is_found_by_its_filter_and_whole_in_its_report(services, settings, monkeypatch, seed):
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
