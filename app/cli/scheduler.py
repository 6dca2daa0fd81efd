"""`tally scheduler`: run the periodic tasks."""

from __future__ import annotations

import click

from app import scheduler as process
from app.cli.output import services, with_sentences


@click.command()
@click.option("--once", is_flag=True, help="Run every task once and exit.")
@with_sentences
def scheduler(once: bool) -> None:
    """Run periodic tasks: wake workers for waiting reports, count events by hour, remove expired data,
    make backups (BACKUP_URL), evaluate alert rules.

    Any number of schedulers may run.
    """
    if once:
        services().scheduler.run_all()
        services().deliveries.flush()
    else:
        process.run(services())
