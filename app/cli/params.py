"""Types and options that commands share: times, durations, pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from app.schemas.times import parse_duration, parse_time

Command = Callable[..., Any]


class Time(click.ParamType[int]):
    """Time, as milliseconds since 1970.

    Args:
        last: whether a day means its last millisecond instead of its first.
    """

    name = "time"

    def __init__(self, *, last: bool = False) -> None:
        self._last = last

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time in milliseconds."""
        if isinstance(value, int):
            return value
        try:
            return parse_time(value, last=self._last)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[int]):
    """Duration, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the duration in seconds."""
        if isinstance(value, int):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def options(*added: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds options to a command, in their order."""

    def add(function: Command) -> Command:
        for option in reversed(added):
            function = option(function)
        return function

    return add


ID = click.argument("key", metavar="ID", type=click.IntRange(1, 10**18))
limit_option = click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
# A command gets `start` and `end` in milliseconds, or None.
range_options = options(
    click.option(
        "--start",
        "--since",
        "start",
        type=Time(),
        metavar="TIME",
        help="The first time: 2026-11-01, 7d, ISO 8601, ms.",
    ),
    click.option(
        "--end",
        "--until",
        "end",
        type=Time(last=True),
        metavar="TIME",
        help="The last time; a day ends at midnight.",
    ),
)
