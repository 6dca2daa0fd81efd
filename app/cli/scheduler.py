"""`flask scheduler`: sets right, every few seconds, what nobody else will."""

from __future__ import annotations

import signal
import threading

import click
import structlog
from redis.exceptions import RedisError

from app.cli.output import command, services
from app.exceptions import StoreUnavailable
from app.store.database import release

log = structlog.get_logger(__name__)


@click.command()
@click.option(
    "--every", default=15.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds between sweeps."
)
@click.option("--once", is_flag=True, help="Sweep once and end.")
@command
def scheduler(every: float, once: bool) -> None:
    """Sweep reports: wake workers for those queued nowhere, give up silent attempts, remove files past their time."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while True:
        _sweep()
        if once or stop.wait(every):
            return


def _sweep() -> None:
    """One sweep; where the database or Redis is away, the next one does its work."""
    try:
        services().reports.sweep()
    except (StoreUnavailable, RedisError) as error:
        log.warning("sweep not finished, the next one goes on", reason=str(error))
    finally:
        release()
