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


def range_options(function: Command) -> Command:
    """Add the options for a range of times to a command, which gets `start` and `end` in milliseconds or None."""
    for option in (
        click.option(
            "--end",
            "--until",
            "end",
            type=Time(last=True),
            metavar="TIME",
            help="The last time; a day ends at midnight.",
        ),
        click.option(
            "--start",
            "--since",
            "start",
            type=Time(),
            metavar="TIME",
            help="The first time: 2026-11-01, 7d, ISO 8601, ms.",
        ),
    ):
        function = option(function)
    return function


def limit_option(function: Command) -> Command:
    """Add the option for the number of rows to a command, which gets it as `limit`."""
    return click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))(function)
