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
CONTINUES = "{0} continues. Wait for it: tally reports wait {0}. Cancel it: tally reports cancel {0}."


def until_ended(report: Report, timeout: int | None) -> Report:
    """Return the report when it has ended or the timeout has expired, with a progress bar on a terminal meanwhile."""
    is_hidden = not sys.stderr.isatty()
    try:
        with click.progressbar(length=100, label=source(report), file=sys.stderr, hidden=is_hidden) as bar:
            return _watch(report, timeout, lambda shown: bar.update(max(0, (percent(shown) or 0) - bar.pos)))
    except KeyboardInterrupt:
        click.echo("\n" + CONTINUES.format(source(report)), err=True)
        raise


def _watch(report: Report, timeout: int | None, show: Callable[[Report], None]) -> Report:
    began, printed = time.monotonic(), None
    while report.status == "RUNNING" and (timeout is None or time.monotonic() - began < timeout):
        time.sleep(POLL_SECONDS)
        problem = None
        try:
            report = services().reports.get(SYSTEM, source(report))
        except StoreUnavailable as error:
            release()  # the next query needs another connection
            problem = str(error)
        show(report)
        if not problem and not report.attempt and time.monotonic() - began > PATIENCE_SECONDS:
            checks = services().health.glance()
            problem = next((one.problem for one in checks if one.problem and one.name in ("redis", "worker")), None)
        if problem and problem != printed:
            printed = problem
            click.echo(f"\n{problem}", err=True)
    return report
