"""`tally events list`, `show` and `count`: the stored events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from app.cli.output import command, say, services
from app.cli.params import limit_option, options, range_options
from app.schemas.events import FullEvent
from app.services.events.listing import EventFilter
from app.services.people.principal import SYSTEM
from app.support.clock import iso

filter_options = options(
    click.option("--customer", metavar="CODE", help="Only of this customer."),
    click.option("--product", metavar="CODE", help="Only of this product."),
    click.option("--type", "types", multiple=True, metavar="CODE", help="Only of this type; repeatable."),
)


@click.command("list")
@filter_options
@range_options
@click.option("--value", help="Only events with this item in their context.")
@click.option("--context", metavar="NAME", help="The item's name in the catalog, with --value; otherwise any item.")
@click.option("--batch", type=click.UUID, metavar="UUID", help="Only events of this batch.")
@click.option("--text", help="Only events with this text in an item of their context.")
@limit_option
@click.option("--after", metavar="CURSOR", help="The next page: `next` of the page before.")
@command
def list_events(text: str | None, limit: int, after: str | None, as_json: bool, **given: Any) -> None:
    """List the newest events by their timestamp.

    A TIME is a day (2026-11-01), ISO 8601 with or without a zone (UTC), milliseconds since 1970, or an age (7d, 12h).
    """
    page = services().listing.page(SYSTEM, _filter_of(given), limit, after, text=text)
    lines = []
    for key, event in page.entries:
        context = " | ".join("" if item is None else item for item in event.context)
        lines.append(f"{key}: {iso(event.timestamp)} {event.customer} {event.product} {event.type}: {context}")
    if not lines:
        lines.append("No matching events so far." if page.next else "No matching events.")
    if page.next:
        lines.append(f"More: --after {page.next}")
    say({"events": [_as_json(*entry) for entry in page.entries], "next": page.next}, "\n".join(lines), json=as_json)


@click.command()
@filter_options
@range_options
@command
def count(as_json: bool, **given: Any) -> None:
    """Count the stored events, all or those that match. A filter reads each matching event.

    The answer is one number. For numbers by day, type or value, see `/counts` of the API or the page Explore.
    """
    is_filtered = any(value not in (None, ()) for value in given.values())
    number = services().listing.number(SYSTEM, _filter_of(given)) if is_filtered else services().ingest.count()
    say({"events": number}, str(number), json=as_json)


@click.command("show")
@click.argument("key", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@command
def show_event(key: int, as_json: bool) -> None:
    """Show the event with an ID, which `list` prints."""
    event = services().listing.one(SYSTEM, key)
    lines = [f"{name}: {value}" for name, value in _as_json(key, event).items() if name != "context"]
    lines += [f"context {place}: {item}" for place, item in enumerate(event.context, 1)]
    say(_as_json(key, event), "\n".join(lines), json=as_json)


def _filter_of(given: Mapping[str, Any]) -> EventFilter:
    """Return the filter that the options describe.

    Raises:
        InputInvalid: a code is not known; the message names the nearest known ones.
    """
    services().catalog.check_known(SYSTEM, given["customer"], given["product"], given["types"], place="")
    if given.get("context") is not None and given.get("value") is None:
        raise click.UsageError("--context NAME needs --value.")
    batch = {} if given.get("batch") is None else {"batch": str(given["batch"])}
    known = {name: one for name, one in given.items() if one is not None} | batch
    return services().catalog.event_filter(SYSTEM, known)


def _as_json(key: int, event: FullEvent) -> dict[str, object]:
    values: dict[str, object] = msgspec.to_builtins(event)
    return {"id": key} | values
