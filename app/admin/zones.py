"""The zone in which pages show and read times: UTC, or the zone that the user has chosen.

`static/times.js` stores the browser's zone in a cookie; without the script, the zone is UTC. The server renders
every time in that zone, so that a refreshed part has the same text if nothing changed.
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
    app.add_template_global(zone_name)
    app.add_template_global(is_local)


def zone() -> tzinfo:
    """Return the zone of this request, or UTC outside a request."""
    if not has_request_context():
        return UTC
    if "zone" not in g:
        name = request.cookies.get(COOKIE, "")
        # Names are checked because ZoneInfo opens a file of that name.
        g.zone = ZoneInfo(name) if name not in ("", "UTC") and name in _known_zones() else UTC
    found: tzinfo = g.zone
    return found


def zone_name() -> str:
    """Return the name that is shown beside every time: UTC, or a name such as Europe/Berlin."""
    return getattr(zone(), "key", "UTC")


def is_local() -> bool:
    """Return whether times are in another zone than UTC."""
    return zone() is not UTC


def offset_name(moment: datetime) -> str:
    """Return the zone's exact offset at a time: UTC, or UTC+01:00 (Europe/Berlin)."""
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


@functools.cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())
