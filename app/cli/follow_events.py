"""`tally events follow`: events as they are accepted."""

from __future__ import annotations

import threading

import click

from app.cli.list_events import filter_options
from app.cli.output import command, services
from app.schemas.events import encode_stored
from app.services.events.changes import NOW
from app.services.events.listing import EventFilter
from app.services.people.principal import SYSTEM

WAIT_SECONDS = 60.0
PAGE_EVENTS = 1000


@click.command()
@filter_options
@click.option("--after", metavar="CURSOR", default=NOW, help="Begin after a cursor of the API; 0 for the oldest event.")
@click.option("--once", is_flag=True, help="End with the last event instead of waiting for new ones.")
@command
def follow(
    customer: str | None, product: str | None, types: tuple[str, ...], after: str, once: bool, as_json: bool
) -> None:
    """Print events as JSON, with or without --json, one a line, in the order of acceptance, until Ctrl-C."""
    wanted, never = EventFilter(customer, product, types), threading.Event()
    cursor = None if after == "0" else after
    while True:
        page = services().changes.read(SYSTEM, wanted, PAGE_EVENTS, cursor, 0 if once else WAIT_SECONDS, never)
        for event in page.events:
            click.echo(encode_stored(event))
        if once and page.next == cursor:
            return
        cursor = page.next
