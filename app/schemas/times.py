"""Times and durations as people write them in a command."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from app.schemas.fields import DIGITS, MAX_TIME
from app.support.clock import now

TIME = "a day (2026-11-01), ISO 8601 (2026-11-01T10:57:00+01:00), milliseconds since 1970, or an age (7d, 12h, 30m)"
DURATION = "a number of seconds, or a number with a unit: 90s, 15m, 12h, 7d, 2w"

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAY_MS = 86_400_000


def parse_time(text: str, *, last: bool = False) -> int:
    """Return a time in milliseconds since 1970. A time without a zone is in UTC.

    Args:
        text: a day, a time in ISO 8601, milliseconds, or an age before now.
        last: whether a day means its last millisecond instead of its first.

    Raises:
        ValueError: the text is none of these, or out of range.
    """
    if DIGITS.fullmatch(text):
        time = int(text)
    elif _DURATION.fullmatch(text):
        time = now() - parse_duration(text) * 1000
    elif _DAY.fullmatch(text):
        time = _milliseconds(text) + (_DAY_MS - 1 if last else 0)
    elif _MOMENT.fullmatch(text):
        time = _milliseconds(text)
    else:
        raise ValueError(f"{text!r} is not {TIME}.")
    return _check_range(time, text)


def parse_moment(text: str) -> int:
    """Return a date and time in ISO 8601 in milliseconds since 1970. A time without a zone is in UTC.

    Raises:
        ValueError: the text is something else, such as a day without a time, or out of range.
    """
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{text!r} is not a date and time in ISO 8601.")
    return _check_range(_milliseconds(text), text)


def parse_duration(text: str) -> int:
    """Return a duration in seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    found = _DURATION.fullmatch(f"{text}s" if text.isascii() and text.isdigit() else text)
    if not found:
        raise ValueError(f"{text!r} is not {DURATION}.")
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def _check_range(time: int, text: str) -> int:
    if not 0 <= time <= MAX_TIME:
        raise ValueError(f"{text!r} is not between the years 1970 and 9999.")
    return time


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time of the calendar.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
