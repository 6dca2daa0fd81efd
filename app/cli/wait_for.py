"""Waiting for a report at a terminal: a bar, and a word where nothing moves or nobody waits any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from app.cli.output import services
from app.exceptions import StoreUnavailable
from app.schemas.progress import percent
from app.schemas.reports import source
from app.services.people.accounts import SYSTEM
from app.store.database import release
from app.store.models import Report

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 3.0  # a worker that is free takes a report at once
GOES_ON = "{0} goes on. Wait for it: flask --app wsgi reports wait {0}. End it: flask --app wsgi reports cancel {0}."


def until_ended(report: Report, timeout: int | None) -> Report:
    """The report when it has ended, or when the time is up; on a terminal with a bar meanwhile."""
    is_hidden = not sys.stderr.isatty()
    try:
        with click.progressbar(length=100, label=source(report), file=sys.stderr, hidden=is_hidden) as bar:
            return _watched(report, timeout, lambda shown: bar.update(max(0, (percent(shown) or 0) - bar.pos)))
    except KeyboardInterrupt:
        click.echo("\n" + GOES_ON.format(source(report)), err=True)
        raise


def _watched(report: Report, timeout: int | None, show: Callable[[Report], None]) -> Report:
    began, said = time.monotonic(), None
    while report.status == "RUNNING" and (timeout is None or time.monotonic() - began < timeout):
        time.sleep(POLL_SECONDS)
        report, problem = _looked_at(report)
        show(report)
        if not problem and not report.attempt and time.monotonic() - began > PATIENCE_SECONDS:
            problem = _why_it_waits()
        if problem and problem != said:
            said = problem
            click.echo(f"\n{problem}", err=True)
    return report


def _looked_at(report: Report) -> tuple[Report, str | None]:
    """The report as it is now; as it was before, and why, where the database is away."""
    try:
        return services().reports.get(SYSTEM, source(report)), None
    except StoreUnavailable as error:
        release()  # the next look needs another connection
        return report, str(error)


def _why_it_waits() -> str | None:
    """What is wrong with those who would take it."""
    return next(
        (one.problem for one in services().health.glance() if one.problem and one.name in ("redis", "worker")), None
    )
