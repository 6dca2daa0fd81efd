"""The zone in which pages show and read times: UTC, or the one that whoever looks has chosen.

The choice is a cookie that `static/times.js` sets to the browser's zone; without the script it is UTC. The server
writes every time in that zone, so that a part that refreshes is the same text as before.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from flask import Flask, g, has_request_context, request

from app.schemas.fields import MAX_TIME

COOKIE = "zone"
FIRST_TIME = -62_135_596_800_000  # 0001-01-01T00:00:00Z, the earliest time that datetime supports


def register(app: Flask) -> None:
    """Give templates the zone's name."""
    app.add_template_global(zone_name)
    app.add_template_global(is_local)


def zone() -> tzinfo:
    """The zone of this request; UTC outside of one."""
    if not has_request_context():
        return UTC
    if "zone" not in g:
        g.zone = _zone(request.cookies.get(COOKIE, ""))
    return g.zone


def zone_name() -> str:
    """What stands beside every time: UTC, or a name such as Europe/Berlin."""
    return getattr(zone(), "key", "UTC")


def is_local() -> bool:
    """Whether times are in another zone than UTC."""
    return zone() is not UTC


def offset_name(moment: datetime) -> str:
    """The zone as it was at a moment, exactly: UTC, or UTC+01:00 (Europe/Berlin)."""
    if moment.tzinfo is UTC:
        return "UTC"
    hours = f"{moment:%z}"
    return f"UTC{hours[:3]}:{hours[3:5]} ({zone_name()})"


def at(milliseconds: int) -> datetime:
    """Return a time in the zone, without its milliseconds.

    The first and last hours that datetime supports have no local time in some zones, so these stay in UTC.
    """
    moment = at_utc(milliseconds)
    try:
        return moment.astimezone(zone())
    except OverflowError:
        return moment


def at_utc(milliseconds: int) -> datetime:
    """Return a time in UTC without its milliseconds, limited to the range that datetime supports.

    A time that a user types may be before the year 1 in UTC, and the last bar of a chart ends in the year 10000.
    """
    return datetime.fromtimestamp(min(max(milliseconds, FIRST_TIME), MAX_TIME) // 1000, UTC)


def _zone(name: str) -> tzinfo:
    """A zone by its name; what is none is UTC. A name is looked up among the known ones before it becomes a file's."""
    return ZoneInfo(name) if name not in ("", "UTC") and name in _known() else UTC


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(available_timezones())
