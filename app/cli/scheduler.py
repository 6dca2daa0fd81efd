"""`tally scheduler`: run the periodic tasks."""

from __future__ import annotations

import signal
import threading

import click

from app.cli.output import services, with_sentences

TICK_SECONDS = 1.0


@click.command()
@click.option("--once", is_flag=True, help="Run every task once and exit.")
@with_sentences
def scheduler(once: bool) -> None:
    """Run periodic tasks: wake workers for waiting reports, count events by hour, remove expired data,
    make backups (BACKUP_URL), evaluate alert rules.

    Any number of schedulers may run.
    """
    tasks = services().scheduler
    if once:
        tasks.run_all()
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tasks.count_beside()
    tasks.back_up_beside()
    tasks.expire_beside()
    tasks.evaluate_alerts_beside()
    while not stop.wait(TICK_SECONDS):
        tasks.run_due()
