"""Template filters that format times, numbers and contexts; each public function is a filter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import orjson
from flask import Flask
from markupsafe import Markup, escape

from app.admin.zones import at, at_utc, offset_name, zone_name
from app.support.clock import now
from app.support.lookalikes import written_out

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
SHOWN_CHARACTERS = 160  # of a context on a line; a context may have 400,000
STEPS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"))
FIRST, LAST = "00:00:00.000", "23:59:59.999"  # of a day
# Commands that users run, as the sentences of app/services/operations/health.py name them.
COMMAND = re.compile(r"tally [a-z]+(?: [a-z]+)?")
ORDINALS = {1: "st", 2: "nd", 3: "rd"}


def register(app: Flask) -> None:
    for word in (
        iso,
        utc_day,
        stamp,
        moment,
        clock,
        full_time,
        ago,
        duration,
        number,
        size,
        ordinal,
        period,
        context_line,
        sample_text,
        with_commands,
        written_out,
    ):
        app.add_template_filter(word)


def iso(milliseconds: int) -> str:
    """Return a time for a `datetime` attribute: 2026-11-23T14:02:11.482Z."""
    time = at_utc(milliseconds)
    return f"{_dated(time)}T{time:%H:%M:%S}.{milliseconds % SECOND:03}Z"


def utc_day(milliseconds: int) -> str:
    """Return the day in UTC, by which days are counted: 23 Nov 2026."""
    time = at_utc(milliseconds)
    return f"{time.day} {time:%b} {time.year}"


def stamp(milliseconds: int) -> str:
    """Return a time in milliseconds for tables, without its zone: 2026-11-23 14:02:11.482."""
    return f"{_dated(at(milliseconds))} {at(milliseconds):%H:%M:%S}.{milliseconds % SECOND:03}"


def moment(milliseconds: int) -> str:
    """Return a time in milliseconds with its zone, for sentences."""
    return f"{stamp(milliseconds)} {zone_name()}"


def clock(milliseconds: int) -> str:
    """Return the time of day without its zone: 14:02:11."""
    return f"{at(milliseconds):%H:%M:%S}"


def full_time(milliseconds: int) -> str:
    """Return a time in full, for tooltips: Monday 23 November 2026, 14:02:11.482 UTC."""
    time = at(milliseconds)
    clock = f"{time:%H:%M:%S}.{milliseconds % SECOND:03} {offset_name(time)}"
    return f"{time:%A} {time.day} {time:%B} {time.year}, {clock}"


def ago(milliseconds: int) -> str:
    """Return a time relative to now: just now, 2 minutes ago, in 6 days."""
    away = now() - milliseconds
    for length, name in STEPS:
        count = abs(away) // length
        if count:
            words = f"{count} {name}{'s' if count > 1 else ''}"
            return f"{words} ago" if away > 0 else f"in {words}"
    return "just now"


def duration(milliseconds: int) -> str:
    """Return a duration in its two largest units: 0.4 s, 12 s, 1 min 12 s, 2 h 5 min."""
    if milliseconds < SECOND:
        return f"{milliseconds / SECOND:.1f} s"
    parts = []
    for length, name in ((HOUR, "h"), (MINUTE, "min"), (SECOND, "s")):
        count, milliseconds = divmod(milliseconds, length)
        parts += [f"{count} {name}"] if count else []
    return " ".join(parts[:2])


def number(value: int) -> str:
    """Return a number with thousands separators: 1,284."""
    return f"{value:,}"


def size(count: int) -> str:
    """Return a size in bytes: 3.1 kB below a megabyte, then 12.4 MB, and from 10 GB on 69.6 GB."""
    if count < 1_000:
        return f"{count} bytes"
    if count >= 10_000_000_000:
        return f"{count / 1_000_000_000:,.1f} GB"
    return f"{count / 1_000:,.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:,.1f} MB"


def ordinal(place: int) -> str:
    """Return an ordinal number: 1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if place % 100 in (11, 12, 13) else ORDINALS.get(place % 10, "th")
    return f"{place}{ending}"


def period(start: int | None, end: int | None) -> str:
    """Return a range with its zone, as whole days if it consists of them: 1–30 Nov 2026 UTC."""
    if start is None:
        return "All time" if end is None else f"Until {_edge(end, LAST)} {zone_name()}"
    if end is None:
        return f"Since {_edge(start, FIRST)} {zone_name()}"
    first, last = _edge(start, FIRST), _edge(end, LAST)
    if first == last:
        return f"{first} {zone_name()}"
    days = "," not in first + last
    return f"{_shortened(first, last) if days else f'{first} – {last}'} {zone_name()}"


def sample_text(value: object) -> str:
    """Return a value of a file's row as text, cut to a line."""
    text = orjson.dumps(value).decode() if isinstance(value, list) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def context_line(items: Sequence[str | None]) -> dict[str, object]:
    """Return a context cut to a line: its first items, and the number of the rest.

    Returns:
        `items`, each a string or None, the last of which may be cut; `more`, the number of items left out.
    """
    shown, room = [], SHOWN_CHARACTERS
    for item in items:
        if room <= 0:
            break
        text = item if item is None or len(item) <= room else item[:room] + "…"
        shown.append(text)
        room -= len(item or "null") + 3
    return {"items": shown, "more": len(items) - len(shown)}


def _dated(time: datetime) -> str:
    return f"{time.year:04}-{time:%m-%d}"  # strftime omits leading zeros of a year


def _edge(milliseconds: int, whole: str) -> str:
    """Return an end of a range: only the day if the time is that day's edge, otherwise with the time that was given."""
    time = at(milliseconds)
    day = f"{time.day} {time:%b} {time.year}"
    clock = f"{time:%H:%M:%S}.{milliseconds % SECOND:03}"
    return day if clock == whole else f"{day}, {clock.removesuffix('.000').removesuffix(':00')}"


def _shortened(first: str, last: str) -> str:
    """Return two days without their common parts: 1–30 Nov 2026, 1 Nov – 3 Dec 2026."""
    day, month, year = first.split()
    if last.endswith(f" {month} {year}"):
        return f"{day}–{last}"
    return f"{day} {month} – {last}" if last.endswith(f" {year}") else f"{first} – {last}"


def with_commands(sentence: str) -> Markup:
    """Return a sentence with its commands marked as code, so that nobody copies the full stop with them."""
    return Markup(COMMAND.sub(lambda found: f"<code>{found[0]}</code>", str(escape(sentence))))  # noqa: S704 - escaped
