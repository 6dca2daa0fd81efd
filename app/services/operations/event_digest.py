"""Digest of events: their number and a hash for each customer, product and day.

The hash of a group is the sum of the hashes of its rows, so it does not depend on their order. A row's hash covers all
of its columns, including its id, in the text form that SQLite and PostgreSQL share (`app.store.operations.table_rows`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from app.exceptions import DatabaseUnsuitable
from app.store.operations.table_rows import Lines, Table, split_lines, unescape
from app.support.clock import DAY_MS

HASH_BITS = 64
HASH_LIMIT = 1 << HASH_BITS
EVENT = "event"

Group = tuple[bytes, bytes, int]  # customer and product as text, and the day since 1970


class Day(NamedTuple):
    """Events of a customer and product whose timestamp is in one day (UTC)."""

    customer: str
    product: str
    day: str
    events: int
    hash: str


def event_table(tables: Iterable[Table]) -> Table:
    """Return the table of events, or raise DatabaseUnsuitable if the database is not migrated."""
    for table in tables:
        if table.name == EVENT:
            return table
    raise DatabaseUnsuitable("The database has no tables yet. Run tally db upgrade.")


class EventDigest:
    """Digest of a stream of events.

    Args:
        table: the table `event`, whose columns the lines have.
    """

    def __init__(self, table: Table) -> None:
        names = table.names
        self._customer, self._product, self._timestamp = map(names.index, ("customer", "product", "timestamp"))
        self._groups: dict[Group, list[int]] = {}

    def add(self, data: bytes) -> None:
        """Add events."""
        customer, product, timestamp = self._customer, self._product, self._timestamp
        groups, sha256, number = self._groups, hashlib.sha256, int.from_bytes
        for line in split_lines(data):
            fields = line.split(b"\t", timestamp + 1)
            group = (fields[customer], fields[product], int(fields[timestamp]) // DAY_MS)
            value = number(sha256(line).digest(), "big")
            found = groups.get(group)
            if found is None:
                groups[group] = [1, value]
            else:
                found[0] += 1
                found[1] += value

    def through(self, blocks: Iterable[Lines]) -> Iterator[Lines]:
        """Yield the same blocks while adding their events."""
        for data, rows in blocks:
            self.add(data)
            yield data, rows

    @property
    def events(self) -> int:
        """Return the number of events."""
        return sum(number for number, _ in self._groups.values())

    @property
    def hash(self) -> str:
        """Return the hash of all events."""
        return _hash(sum(value for _, value in self._groups.values()))

    def days(self) -> list[Day]:
        """Return the groups in order."""
        found = [
            Day(unescape(customer), unescape(product), day_name(day), number, _hash(value))
            for (customer, product, day), (number, value) in self._groups.items()
        ]
        return sorted(found)


def differences(expected: Iterable[Day], found: Iterable[Day]) -> list[str]:
    """Return a sentence for each customer, product and day whose events differ."""
    before = {day[:3]: day for day in expected}
    after = {day[:3]: day for day in found}
    sentences = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        if one != other:
            numbers = f"{one.events if one else 0:,} events expected, {other.events if other else 0:,} found"
            same = one and other and one.events == other.events
            sentences.append(f"{' '.join(key)}: {'the events differ' if same else numbers}.")
    return sentences


def day_name(day: int) -> str:
    """Return a day since 1970 as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(day * DAY_MS / 1000, UTC).strftime("%Y-%m-%d")


def _hash(value: int) -> str:
    return f"{value % HASH_LIMIT:016x}"
