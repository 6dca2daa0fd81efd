"""Times, numbers and contexts in the words of the pages; each function is a filter of the templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from flask import Flask
from markupsafe import Markup, escape

from app.admin.zones import at, at_utc, offset_name, zone_name
from app.support.clock import now
from app.support.lookalikes import written_out

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
SHOWN_CHARACTERS = 160  # of a context on its line; a context may have 400,000
STEPS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"))
FIRST, LAST = "00:00:00.000", "23:59:59.999"  # of a day
# A command to be typed in, as the sentences of app/services/operations/health.py name it.
COMMAND = re.compile(r"python worker\.py|flask --app wsgi [a-z]+(?: [a-z]+)?")
ORDINALS = {1: "st", 2: "nd", 3: "rd"}


def register(app: Flask) -> None:
    """Give templates the filters, by their names here."""
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
        with_commands,
        written_out,
    ):
        app.add_template_filter(word)


def iso(milliseconds: int) -> str:
    """For a `datetime` attribute: 2026-11-23T14:02:11.482Z."""
    time = at_utc(milliseconds)
    return f"{_dated(time)}T{time:%H:%M:%S}.{milliseconds % SECOND:03}Z"


def utc_day(milliseconds: int) -> str:
    """The day in UTC, as days are counted: 23 Nov 2026."""
    time = at_utc(milliseconds)
    return f"{time.day} {time:%b} {time.year}"


def stamp(milliseconds: int) -> str:
    """To the millisecond, as rows of a table show it: 2026-11-23 14:02:11.482; its zone is for the caller to name."""
    return f"{_dated(at(milliseconds))} {at(milliseconds):%H:%M:%S}.{milliseconds % SECOND:03}"


def moment(milliseconds: int) -> str:
    """The same with its zone, for sentences."""
    return f"{stamp(milliseconds)} {zone_name()}"


def clock(milliseconds: int) -> str:
    """The time of day: 14:02:11; its zone is for the caller to name."""
    return f"{at(milliseconds):%H:%M:%S}"


def full_time(milliseconds: int) -> str:
    """In full, for whoever hovers: Monday 23 November 2026, 14:02:11.482 UTC."""
    time = at(milliseconds)
    clock = f"{time:%H:%M:%S}.{milliseconds % SECOND:03} {offset_name(time)}"
    return f"{time:%A} {time.day} {time:%B} {time.year}, {clock}"


def ago(milliseconds: int) -> str:
    """How long since: just now, 2 minutes ago; in 6 days."""
    away = now() - milliseconds
    for length, name in STEPS:
        count = abs(away) // length
        if count:
            words = f"{count} {name}{'s' if count > 1 else ''}"
            return f"{words} ago" if away > 0 else f"in {words}"
    return "just now"


def duration(milliseconds: int) -> str:
    """How long, by its two largest units: 0.4 s, 12 s, 1 min 12 s, 2 h 5 min."""
    if milliseconds < SECOND:
        return f"{milliseconds / SECOND:.1f} s"
    parts = []
    for length, name in ((HOUR, "h"), (MINUTE, "min"), (SECOND, "s")):
        count, milliseconds = divmod(milliseconds, length)
        parts += [f"{count} {name}"] if count else []
    return " ".join(parts[:2])


def number(value: int) -> str:
    """Grouped: 1,284."""
    return f"{value:,}"


def size(count: int) -> str:
    """Of a file: 12.4 MB; below a megabyte 3.1 kB, as 0.0 MB says nothing; of a disk: 69.6 GB."""
    if count < 1_000:
        return f"{count} bytes"
    if count >= 10_000_000_000:
        return f"{count / 1_000_000_000:,.1f} GB"
    return f"{count / 1_000:,.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:,.1f} MB"


def ordinal(place: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if place % 100 in (11, 12, 13) else ORDINALS.get(place % 10, "th")
    return f"{place}{ending}"


def period(start: int | None, end: int | None) -> str:
    """A range with its zone, in whole days where it is one: 1–30 Nov 2026 UTC."""
    if start is None and end is None:
        return "All time"
    if start is None:
        return f"Until {_edge(end, LAST)} {zone_name()}"
    if end is None:
        return f"Since {_edge(start, FIRST)} {zone_name()}"
    first, last = _edge(start, FIRST), _edge(end, LAST)
    if first == last:
        return f"{first} {zone_name()}"
    days = "," not in first + last
    return f"{_shortened(first, last) if days else f'{first} – {last}'} {zone_name()}"


def context_line(items: Sequence[str | None]) -> dict[str, object]:
    """A context cut to one line: its first items, and how many more there are.

    Returns:
        `items`, each a string or None, the last one maybe cut; `more`, the number of those left out.
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
    return f"{time.year:04}-{time:%m-%d}"  # strftime leaves out a year's zeros


def _edge(milliseconds: int, whole: str) -> str:
    """An end of a range: its day, where it stands at that day's edge; else as exactly as it was given."""
    time = at(milliseconds)
    day = f"{time.day} {time:%b} {time.year}"
    clock = f"{time:%H:%M:%S}.{milliseconds % SECOND:03}"
    return day if clock == whole else f"{day}, {clock.removesuffix('.000').removesuffix(':00')}"


def _shortened(first: str, last: str) -> str:
    """Two days, without what they share: 1–30 Nov 2026, 1 Nov – 3 Dec 2026."""
    day, month, year = first.split()
    if last.endswith(f" {month} {year}"):
        return f"{day}–{last}"
    return f"{day} {month} – {last}" if last.endswith(f" {year}") else f"{first} – {last}"


def with_commands(sentence: str) -> Markup:
    """A sentence with the commands in it as code, so that nobody types its full stop."""
    return Markup(COMMAND.sub(lambda found: f"<code>{found[0]}</code>", str(escape(sentence))))  # noqa: S704 - escaped
