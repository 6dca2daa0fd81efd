"""Wait for a report at a terminal, with a progress bar and messages about problems."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from app.cli.output import services
from app.exceptions import StoreUnavailable
from app.schemas.progress import percent
from app.schemas.reports import source
from app.services.people.principal import SYSTEM
from app.store.database import release
from app.store.models import Report

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 3.0  # a free worker claims a report at once
GOES_ON = (
    "{0} continues. Wait for it: flask --app wsgi reports wait {0}. Cancel it: flask --app wsgi reports cancel {0}."
)


def until_ended(report: Report, timeout: int | None) -> Report:
    """Return the report when it has ended or the timeout has expired, with a progress bar on a terminal meanwhile."""
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
    """Return the current report, or the previous state and the reason if the database is unavailable."""
    try:
        return services().reports.get(SYSTEM, source(report)), None
    except StoreUnavailable as error:
        release()  # the next query needs another connection
        return report, str(error)


def _why_it_waits() -> str | None:
    """Return the problem of Redis or the workers that keeps the report waiting, or None."""
    return next(
        (one.problem for one in services().health.glance() if one.problem and one.name in ("redis", "worker")), None
    )
