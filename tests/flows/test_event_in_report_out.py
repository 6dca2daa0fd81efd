"""The main flow of the product: events are sent over HTTP, and a report contains exactly those acknowledged."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import random
import re
import sys
from collections.abc import Iterator

import pytest

from tests.flows.conftest import ADMIN, Visitor
from tests.support import backing_servers
from tests.support.client import FIRST
from tests.support.pace import times

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes are ended by what Linux offers"),
]

EVENTS = times(2_500, 10_000)
SIZES = (1, 2, 10, 137, 400, 1000)  # of the batches, repeatedly
OURS = {"customer": "FLOW", "product": "PORTFOLIO"}
AWKWARD = [
    None, "", " ", "|", '"', '""', 'say "so"', "a|b|c", "two\nlines", "\r\n", "\r", "\t", "\\", "\\N", "\\.", "NULL",
    "null", "{}", "[1]", ",", ";", "'", "=1+1", "-", "0", "\x01", "\x7f", "\u2028", "\ufeff",
    "é", "ñandú", "🐎", "👩\u200d👩\u200d👧", "שלום", "مرحبا", "\u202eright",
    "x" * 4096, "🐎" * 4096, "\n" * 4096, '"' * 4096,
]  # fmt: skip
CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^|"\n]*))(\||\n)')

Event = tuple[int, str, list]  # timestamp, type, context


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def visitor(request, start) -> Visitor:
    """A client of a service on each database.

    In `make test`, tests/deploy/test_examples.py has the flow on PostgreSQL, tests/faults/test_reports_survive.py the
    exact bytes of its reports, and tests/exports/test_two_roads.py the awkward values.
    """
    if request.param == "sqlite":
        return Visitor(request.getfixturevalue("shared_service"))
    url = backing_servers.make_database(request.getfixturevalue("postgres_server"), "flow")
    return start(DATABASE_URL=url, WEB_PROCESSES="1", idle=["scheduler"])


def events() -> list[dict]:
    """Return thousands of events with awkward values, many at the same millisecond, in no order of time."""
    chance = random.Random(11)
    made = [OURS | {"type": "AWKWARD", "timestamp": FIRST, "context": [item]} for item in AWKWARD]
    made += [OURS | {"type": "AWKWARD", "timestamp": FIRST, "context": AWKWARD}]
    made += [OURS | {"type": "HUNDRED", "timestamp": FIRST, "context": [str(number) for number in range(100)]}]
    while len(made) < EVENTS:
        context = [chance.choice(AWKWARD[:-4]) for _ in range(chance.randrange(6))]
        one = {"type": f"TYPE {chance.randrange(9)}", "timestamp": FIRST + chance.randrange(3000), "context": context}
        made.append(OURS | one)
    return made


def batches(items: list[dict]) -> Iterator[list[dict]]:
    rest = iter(items)
    for size in itertools.cycle(SIZES):
        batch = list(itertools.islice(rest, size))
        if not batch:
            return
        yield batch


def send(visitor: Visitor, batch: list[dict], form: int) -> list[dict]:
    """Send a batch in one of the forms that clients use, and return the acknowledged events."""
    body, headers = json.dumps({"events": batch}).encode(), {"Content-Type": "application/json"}
    if form == 1:
        body = json.dumps(batch, ensure_ascii=False).encode()
    if form == 2:
        body, headers = b"\n".join(json.dumps(one).encode() for one in batch), {"Content-Type": "application/x-ndjson"}
    if form == 3:
        body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
    answer = visitor.post("/events", data=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert [one["sequence"] for one in answer.json()] == list(range(1, len(batch) + 1))
    return answer.json()


def cells(file: str) -> Iterator[list[str | None]]:
    """Return the rows of a file in which nulls are empty and empty strings are quoted."""
    row: list[str | None] = []
    place = 0
    while place < len(file):
        found = CELL.match(file, place)
        assert found, file[place : place + 100]
        quoted, plain, end = found.groups()
        row.append(quoted.replace('""', '"') if quoted is not None else plain or None)
        place = found.end()
        if end == "\n":
            yield row
            row = []


def without_trailing_nulls(items: list) -> list:
    while items and items[-1] is None:
        items = items[:-1]
    return items


def in_order(acknowledged: list[dict]) -> list[Event]:
    """Return what the report must contain, by time and then by acceptance."""
    by_time = sorted(acknowledged, key=lambda one: one["timestamp"])
    return [(one["timestamp"], one["type"], without_trailing_nulls(one["context"])) for one in by_time]


def test_the_report_has_what_was_acknowledged(visitor):
    acknowledged = []
    for number, batch in enumerate(batches(events())):
        answered = send(visitor, batch, number % 4)
        assert [{key: one[key] for key in batch[0]} for one in answered] == batch
        acknowledged += answered
    assert len(acknowledged) == EVENTS
    send(visitor, [OURS | {"product": "WATCHLIST", "type": "OTHER", "timestamp": FIRST, "context": ["not ours"]}], 0)
    refused = visitor.post("/events", json={"events": [events()[0], OURS]})
    assert refused.status_code == 400

    job = visitor.start_report(**OURS, layout="positional")
    assert visitor.availability(job)["status"] in ("RUNNING", "COMPLETE")
    assert visitor.get(f"/reports/{job['source']}/availability").status_code == 401
    job = visitor.until_ended(job)
    assert job["status"] == "COMPLETE"
    link = visitor.link(job)
    assert link.startswith(f"{visitor.service.url}/files/{job['source']}?")
    file = visitor.get(link)  # without credentials
    assert (file.status_code, file.headers["Content-Type"].partition(";")[0]) == (200, "text/csv")

    expected = in_order(acknowledged)
    read = [(int(row[0]), row[1], without_trailing_nulls(row[2:])) for row in cells(file.content.decode())]
    assert len(read) == EVENTS
    assert read == expected

    csv.field_size_limit(10**6)
    rows = list(csv.reader(io.StringIO(file.content.decode(), newline=""), delimiter="|"))
    assert {len(row) for row in rows} == {102}
    assert [[int(row[0]), row[1]] for row in rows] == [[time, kind] for time, kind, _ in expected]
    assert all(
        row[2 : 2 + len(context)] == [item or "" for item in context]
        for row, (_, _, context) in zip(rows, expected, strict=True)
    )

    on_record = visitor.progress(job)["file"]
    assert (on_record["rows"], on_record["bytes"]) == (EVENTS, len(file.content))
    assert on_record["sha256"] == hashlib.sha256(file.content).hexdigest()

    again = visitor.until_ended(visitor.start_report(**OURS, layout="positional"))
    assert visitor.progress(again)["file"]["sha256"] == on_record["sha256"]
    followed = visitor.get(f"/reports/{again['source']}", auth=ADMIN, headers={"Accept": "text/csv"})  # a redirect
    assert followed.content == file.content
