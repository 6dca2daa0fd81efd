"""The time range of a report is split into stretches that have every row once and in order.

The stretches depend on the rows alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.exports.layout import POSITIONAL, Layout
from app.store.database import database, transaction
from app.store.events import select
from app.store.events.select import Selection
from app.store.models import Event
from tests.support import pace

LAYOUT = Layout(POSITIONAL)
BASE = 1_793_000_000_000
HOUR, MINUTE, SECOND = 3_600_000, 60_000, 1_000
LATEST = 253_402_300_799_999
BATCH = "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b"

near = st.builds(  # frequent hours, minutes, seconds and milliseconds
    lambda hour, minute, second, rest: BASE + hour * HOUR + minute * MINUTE + second * SECOND + rest,
    st.integers(0, 3),
    st.sampled_from([0, 0, 0, 1, 59]),
    st.sampled_from([0, 0, 0, 1, 59]),
    st.sampled_from([0, 0, 0, 1, 999]),
)
times = st.one_of(near, near, near, st.sampled_from([0, 1, HOUR - 1, HOUR, LATEST]), st.integers(0, LATEST))
kinds = st.sampled_from(["A", "B", "C"])
some = st.lists(st.tuples(times, kinds), max_size=60)


def insert_events(rows: Sequence[tuple[int, str]]) -> list[int]:
    """Insert events, and return the ids of all stored events."""
    made = [("C", "P", kind, None, time, [], 1, BATCH, 0) for time, kind in rows]
    with transaction():
        database.insert_encoded([database.encode_events(made)])
    return [row.id for row in Event.select(Event.id).order_by(Event.id)]


@st.composite
def selections(draw, rows: Sequence[tuple[int, str]]) -> dict:
    """Draw a filter whose limits equal row times, are next to them, or are arbitrary."""
    at = st.one_of(st.none(), times, st.sampled_from([time for time, _ in rows] or [0]))
    ends = sorted((draw(at), draw(at)), key=lambda end: -1 if end is None else end)
    places = st.one_of(st.none(), st.integers(0, len(rows)))
    return {
        "start": ends[0],
        "end": ends[1],
        "types": draw(st.sampled_from([(), (), ("A",), ("A", "C")])),
        "snapshot_min_id": draw(places),
        "snapshot_max_id": draw(places),
    }


def split(selection: Selection, size: int) -> list[tuple[int, int]]:
    """Return the stretches, after checking the survey that they derive from."""
    measure, by_hour = select.survey(selection, LAYOUT)
    assert measure == select.measure(selection, LAYOUT)
    assert [number for _, number in by_hour if number < 1] == []
    return select.stretches(selection, size, by_hour)


@pytest.mark.usefixtures("app")
@settings(max_examples=pace.times(30, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), rows=some, late=some, size=st.integers(1, 20))
def test_stretches_have_every_row_once_and_in_order(data, rows, late, size):
    Event.delete().execute()
    ids = insert_events(rows)
    drawn = data.draw(selections(rows))
    # Convert positions to ids: 0 for none, or the id of the n-th row.
    bounds = {
        key: None if drawn[key] is None else ([0, *ids])[drawn[key]] for key in ("snapshot_min_id", "snapshot_max_id")
    }
    if bounds["snapshot_max_id"] is None:
        bounds["snapshot_max_id"] = max(ids, default=0)
    selection = Selection("C", "P", **(drawn | bounds))

    stretches = split(selection, size)
    whole = list(select.rows(selection))
    parts = [list(select.rows(selection.between(start, end))) for start, end in stretches]
    assert [row for part in parts for row in part] == whole
    assert all(parts), "none is empty"
    assert all(start <= end for start, end in stretches)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(stretches))
    assert all(len(part) <= size or len({row[0] for row in part}) == 1 for part in parts), "but for a millisecond"

    insert_events(late)  # accepted after the snapshot
    assert split(selection, size) == stretches
