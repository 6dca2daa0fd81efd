"""Counts equal a count of all committed events, regardless of the hourly counts, and never sample silently."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from app.services.events import counts
from app.store.events import count_slices, erase, hourly_counts
from app.store.events.filters import EventFilter
from app.store.models import Counted, Event
from app.store.step_size import Pace
from tests.support.client import FIRST, Client, event, faults, root
from tests.support.threads import BackgroundThreads

HOUR, DAY = 3_600_000, 86_400_000
TOP = FIRST - FIRST % DAY
CODES = {"customer": ("BARCHART", "FERNHILL"), "product": ("PORTFOLIO", "CHARTS"), "type": ("OPENED", "CLOSED", "ODD")}
CATALOG = """{"customers": [], "products": [], "types": [
    {"code": "OPENED", "product": "PORTFOLIO", "description": "", "context": ["userId", "view"]},
    {"code": "CLOSED", "product": "PORTFOLIO", "description": "", "context": ["view"]},
    {"code": "OPENED", "product": "CHARTS", "description": "", "context": ["symbol", "userId"]}]}"""
NAMES = {("PORTFOLIO", "OPENED"): 0, ("CHARTS", "OPENED"): 1}  # where userId is


def ask(client: Client, **query: object) -> dict:
    answer = client.get(f"/counts?{urlencode(query, doseq=True)}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def refused(client: Client, **query: object) -> list[str]:
    answer = client.get(f"/counts?{urlencode(query, doseq=True)}")
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    return [message for _, message in faults(answer)]


def truth(by: tuple[str, ...], wanted: Callable[[Event], bool]) -> Counter:
    """Count the events one by one: their number by the values of a group."""
    found: Counter = Counter()
    for one in Event.select():
        if not wanted(one):
            continue
        if "context" in by and (one.product, one.type) not in NAMES:
            continue
        key = []
        for word in by:
            if word in ("hour", "day"):
                key.append(one.timestamp // {"hour": HOUR, "day": DAY}[word] * {"hour": HOUR, "day": DAY}[word])
            elif word == "context":
                place = NAMES[one.product, one.type]
                key.append(one.context[place] if place < len(one.context) else None)
            else:
                key.append(getattr(one, word))
        found[tuple(key)] += 1
    return found


def answered(by: tuple[str, ...], page: dict) -> Counter:
    columns = ["time" if word in ("hour", "day") else "value" if word == "context" else word for word in by]
    assert all(set(row) == {*columns, "count"} for row in page["counts"])
    return Counter({tuple(row[column] for column in columns): row["count"] for row in page["counts"]})


@pytest.fixture
def scattered(services, nobody) -> Callable[[int], None]:
    """Return a function that stores events of three days, of all codes."""
    services.catalog.put(CATALOG.encode())
    chance = random.Random(7)  # noqa: S311

    def store(number: int) -> None:
        nobody.send(
            *[
                event(
                    **{name: chance.choice(codes) for name, codes in CODES.items()},
                    timestamp=TOP + chance.randrange(3 * DAY),
                    context=[chance.choice(["a", "b", None, ""]) for _ in range(chance.randrange(3))],
                )
                for _ in range(number)
            ]
        )

    return store


QUESTIONS = [
    ((), {}),
    (("day", "product"), {}),
    (("hour",), {}),
    (("hour", "type"), {"product": "CHARTS"}),
    (("customer", "product", "type", "day"), {}),
    (("product",), {"start": TOP + HOUR // 2, "end": TOP + DAY + HOUR // 3}),
    (("hour", "product"), {"start": TOP + HOUR // 2, "end": TOP + DAY + HOUR // 3}),
    (("day", "customer"), {"start": TOP + HOUR, "end": TOP + 2 * DAY - 1, "types": ["OPENED", "ODD"]}),
    (("type",), {"start": TOP + HOUR + 5, "end": TOP + HOUR + HOUR // 2}),
    (("type",), {"start": TOP + HOUR // 2, "customer": "FERNHILL"}),
    (("hour", "customer"), {"start": TOP + 5 * HOUR + 7, "end": TOP + 2 * DAY + HOUR // 3}),
    (("customer", "product"), {"start": TOP + 5 * HOUR, "end": TOP + DAY - 1}),
    (("day", "product"), {"customer": "FERNHILL", "start": TOP + 7 * HOUR}),
    (("context",), {"context": "userId"}),
    (("day", "context", "customer"), {"context": "userId", "end": TOP + 2 * DAY + 7, "product": "PORTFOLIO"}),
]


def matches(query: dict, client: Client | None = None) -> Callable[[Event], bool]:
    def match(one: Event) -> bool:
        return (
            query.get("start", 0) <= one.timestamp <= query.get("end", TOP * 2)
            and all(query.get(name, getattr(one, name)) == getattr(one, name) for name in ("customer", "product"))
            and one.type in query.get("types", CODES["type"])
        )

    return match


@pytest.mark.both_databases
def test_counts_are_exact_however_many_events_are_counted_beforehand(admin, analyst, scattered):
    for state in ("nothing is counted", "some are counted", "all are counted"):
        scattered(150)
        if state == "all are counted":
            while hourly_counts.advance():
                pass
        for by, query in QUESTIONS:
            expected = truth(by, matches(query))
            page = ask(admin, by=",".join(by), **query)
            assert answered(by, page) == expected, (state, by, query)
            assert page["total"] == expected.total()
            if query.get("customer") != "FERNHILL":
                own = truth(by, lambda one, query=query: matches(query)(one) and one.customer == "BARCHART")
                assert answered(by, ask(analyst, by=",".join(by), **query)) == own, (state, by, query)
        if state == "nothing is counted":
            hourly_counts.advance()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("steps", [1, 4, 33])
def test_counts_are_exact_while_a_slice_is_being_counted_in_steps(admin, scattered, monkeypatch, steps):
    monkeypatch.setattr(count_slices, "STEPS", [Pace(2, 2)] * 3)
    scattered(20)
    while hourly_counts.advance():
        pass
    scattered(60)
    done, step = [], count_slices._step

    def take_some(*args: object, **kwargs: object) -> bool:
        done.append(1)
        return len(done) <= steps and step(*args, **kwargs)

    monkeypatch.setattr(count_slices, "_step", take_some)
    hourly_counts.advance()
    assert Counted.get().slice_groups > 0
    scattered(10)
    for by, query in QUESTIONS:
        assert answered(by, ask(admin, by=",".join(by), **query)) == truth(by, matches(query)), (by, query)


def test_counts_are_exact_after_an_erasure(admin, scattered):
    scattered(100)
    sum(erase.erase(EventFilter(product="CHARTS", end=TOP + DAY, snapshot_max_id=erase.counted_cut())))
    for by, query in QUESTIONS:
        assert answered(by, ask(admin, by=",".join(by), **query)) == truth(by, matches(query)), (by, query)


@pytest.mark.both_databases
def test_the_largest_groups_come_with_their_steps_and_the_rest_is_counted(admin, nobody):
    for kind, number in (("A", 3), ("B", 5), ("C", 1), ("D", 1)):
        nobody.send(*[event(type=kind, timestamp=TOP + hour % 2 * HOUR) for hour in range(number)])
    page = ask(admin, by="hour,type", limit=2)
    assert page == {
        "counts": [
            {"time": TOP, "type": "B", "count": 3},
            {"time": TOP, "type": "A", "count": 2},
            {"time": TOP + HOUR, "type": "B", "count": 2},
            {"time": TOP + HOUR, "type": "A", "count": 1},
        ],
        "total": 10,
        "rest": {"groups": 2, "count": 2},
    }
    assert [row["type"] for row in ask(admin, by="type")["counts"]] == ["B", "A", "C", "D"]
    assert ask(admin, by="type", start=5, end=6) == {"counts": [], "total": 0, "rest": {"groups": 0, "count": 0}}


@pytest.mark.parametrize("how", [{"query": "&format=csv"}, {"headers": {"Accept": "text/csv"}}])
def test_counts_are_csv_on_request(admin, nobody, how):
    nobody.send(event(type='"odd"'), event(type="B"), event(type="B"), event(type="C"))
    answer = admin.get(f"/counts?by=type,day&limit=2{how.get('query', '')}", headers=how.get("headers"))
    assert answer.content_type == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.get_data(as_text=True))))
    assert rows == [["time", "type", "count"], [str(TOP), "B", "2"], [str(TOP), '"odd"', "1"]]
    assert (answer.headers["X-Rest-Groups"], answer.headers["X-Rest-Count"]) == ("1", "1")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"by": "colour"}, "colour"),
        ({"by": "type,type"}, "by"),
        ({"by": "hour,day"}, "by"),
        ({"by": "context"}, "context"),
        ({"by": "type", "context": "userId"}, "context"),
        ({"by": "context", "context": "userid"}, "userId"),
        ({"by": "context", "context": "symbol", "product": "PORTFOLIO"}, "symbol"),
        ({"by": "type", "limit": "1001"}, "limit"),
        ({"by": "type", "customer": "FERNHIL"}, "FERNHILL"),
        ({"by": "type", "start": "2", "end": "1"}, "end"),
    ],
)
def test_wrong_questions_are_explained(admin, scattered, query, words):
    scattered(20)
    assert words in refused(admin, **query)[0]


def test_a_question_that_reads_too_many_events_says_how_to_ask_less(admin, scattered, monkeypatch):
    scattered(100)
    while hourly_counts.advance():
        pass
    monkeypatch.setattr(counts, "MAX_READ", 50)
    assert "narrow the period" in refused(admin, by="context", context="userId")[0]
    assert ask(admin, by="type")["total"] == 100
    assert ask(admin, by="context", context="userId", start=TOP, end=TOP + HOUR)["rest"]["count"] == 0
    monkeypatch.setattr(counts, "MAX_ROWS", 5)
    assert "limit" in refused(admin, by="hour,type")[0]
    scattered(60)
    answer = admin.get("/counts?by=type")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_everything_is_read_in_one_snapshot(admin, nobody, scattered, monkeypatch):

    scattered(20)
    newest = counts.store._counted

    def count_meanwhile() -> object:
        found = newest()
        with BackgroundThreads() as threads:
            threads.start(scattered, 10).result(timeout=60)
            threads.start(hourly_counts.advance).result(timeout=60)
        return found

    monkeypatch.setattr(counts.store, "_counted", count_meanwhile)
    assert ask(admin, by="type")["total"] == 20


def test_another_customers_events_are_not_counted(analyst, scattered):
    scattered(50)
    own = Event.select().where(Event.customer == "BARCHART").count()
    assert ask(analyst)["total"] == own == ask(analyst, by="customer")["counts"][0]["count"]
    answer = analyst.get("/counts?customer=FERNHILL")
    assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")
