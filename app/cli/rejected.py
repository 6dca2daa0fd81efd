"""`tally events rejected`: rejected events by id, and refused requests by UUID: list, show, resend, remove."""

from __future__ import annotations

import uuid
from typing import Any

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import REFUSED, command, say, say_all, services, utc
from app.cli.params import limit_option, options, range_options
from app.services.events.rejected_query import REASONS, rejected_filter, within_reach
from app.services.events.resend import READ_TIMESTAMPS, Change
from app.services.people.principal import SYSTEM
from app.store.models import RejectedEvent, RejectedRequest

MAX_PRINTED = 10  # rejected events whose reasons are printed
SHOWN_BODY = 2_000  # characters of a refused request that are printed


class Key(click.ParamType[int | str]):
    """Parameter type: the id of a rejected event, or the UUID of a refused request."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the id as an integer, or the UUID in its stored form."""
        if value.isascii() and value.isdigit() and 1 <= int(value) < 2**63:
            return int(value)
        try:
            return str(uuid.UUID(value))
        except ValueError:
            self.fail(f"{value!r} is neither the id of a rejected event nor the UUID of a refused request.", param, ctx)


@click.group()
def rejected() -> None:
    """Rejected events and refused requests: list, show, resend, remove."""


filter_options = options(
    range_options,
    click.option("--customer", metavar="CODE", help="Only of this customer."),
    click.option("--product", metavar="CODE", help="Only of this product."),
    click.option("--type", metavar="CODE", help="Only of this type."),
    click.option("--reason", metavar="REASON", type=click.Choice(list(REASONS)), help=f"One of {', '.join(REASONS)}."),
    click.option("--origin", metavar="TEXT", help="Only from this address or network, or with this request id."),
    click.option("--text", help="Only with this text in the event or in its reasons."),
)


@rejected.command("list")
@filter_options
@limit_option
@click.option("--before", type=click.IntRange(1), metavar="ID", help="Only events before this one: the next page.")
@click.option("--requests", is_flag=True, help="The refused requests instead, whose valid events were not stored.")
@command
def list_rejected(limit: int, before: int | None, requests: bool, as_json: bool, **given: Any) -> None:
    """List the newest rejected events with the first reason of each.

    Times are times of arrival. --text searches only the latest 20,000 events that match the other options.
    """
    wanted = rejected_filter(**given)
    none = "There are no " if wanted.is_empty else "There are no matching "
    if requests:
        found = services().rejected.requests(SYSTEM, limit, before, wanted)
        say_all(found, _request_as_json, _render_request, f"{none}refused requests.", json=as_json)
        return
    events = services().rejected.page(SYSTEM, limit, before, within_reach(SYSTEM, wanted, before))
    say_all(events, _as_json, _render, f"{none}rejected events.", json=as_json)


@rejected.command()
@click.argument("key", metavar="ID", type=Key())
@command
def show(key: int | str, as_json: bool) -> None:
    """Show a rejected event with all its reasons, or a refused request with the start of its body.

    ID is the number of a rejected event, or the UUID of a refused request.
    """
    if isinstance(key, str):
        request = services().rejected.request(SYSTEM, key)
        body = services().rejected.start_of_body(request, SHOWN_BODY)
        say(_request_as_json(request) | {"body": body}, f"{_render_request(request)}\n{body}", json=as_json)
        return
    one = services().rejected.get(SYSTEM, key)
    lines = [_render(one), *(f"  {reason}" for reason in one.reasons[1:]), one.event]
    say(_as_json(one), "\n".join(lines), json=as_json)


@rejected.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=Key())
@click.option("--all", "everything", is_flag=True, help="All rejected events and refused requests.")
@filter_options
@click.option("--parse-timestamps", is_flag=True, help="Parse timestamps in ISO 8601, as UTC if they have no zone.")
@command
def resend(ids: tuple[int | str, ...], everything: bool, parse_timestamps: bool, as_json: bool, **given: Any) -> None:
    """Send rejected events again: those with the given ids, all, or those that match a filter.

    Events that are now valid are stored and leave the rejected events. They are sent unchanged, unless
    --parse-timestamps is given. --text searches only the latest 20,000 events that match the other options.

    ID is the number of a rejected event, or the UUID of a refused request. A request is stored as one batch, with its
    valid events, or not at all; for an event that arrived in a request, the whole request is sent. Exits with 3 if
    some are still rejected.
    """
    wanted = rejected_filter(**given)
    if [bool(ids), everything, not wanted.is_empty].count(True) != 1:
        raise click.UsageError("Give either the ids of rejected events, --all, or a filter.")
    sent, refused = 0, []
    change = READ_TIMESTAMPS if parse_timestamps else Change()
    for outcome in services().resend.send_many(dict.fromkeys(ids) or None, wanted, change):
        if outcome.reasons:
            refused.append(outcome)
        else:
            sent += outcome.events
    for outcome in refused[:MAX_PRINTED]:
        click.echo(f"{outcome.id}: {' '.join(outcome.reasons)}", err=True)
    left = sum(outcome.events for outcome in refused)
    say(
        {"sent": sent, "refused": left},
        f"Sent {sent}; {left} {'is' if left == 1 else 'are'} still rejected.",
        json=as_json,
    )
    raise SystemExit(REFUSED if refused else 0)


@rejected.command()
@click.argument("keys", metavar="ID...", nargs=-1, required=True, type=Key())
@yes_option
@command
def remove(keys: tuple[int | str, ...], yes: bool, as_json: bool) -> None:
    """Remove rejected events, or refused requests with all their events, permanently.

    ID is the number of a rejected event, or the UUID of a refused request. If one of them does not exist, none is
    removed.
    """
    service = services().rejected
    events = [service.get(SYSTEM, key) for key in dict.fromkeys(keys) if isinstance(key, int)]
    requests = [service.request(SYSTEM, key) for key in dict.fromkeys(keys) if isinstance(key, str)]
    counts = f"{len(events)} rejected events and {len(requests)} refused requests"
    confirm(f"Remove {counts} permanently?", yes=yes)
    for event in events:
        service.discard(SYSTEM, event)
    for request in requests:
        service.discard_request(SYSTEM, request)
    say({"events": len(events), "requests": len(requests)}, f"Removed {counts}.", json=as_json)


def _as_json(one: RejectedEvent) -> dict[str, object]:
    names = ("address", "request_id", "place", "customer", "product", "type", "field", "reasons", "request", "event")
    return {"id": one.id, "received": one.received_at} | {name: getattr(one, name) for name in names}


def _request_as_json(one: RejectedRequest) -> dict[str, object]:
    names = ("address", "request_id", "idempotency_key", "customer", "events", "invalid")
    shown = {"uuid": one.uuid, "id": one.id, "received": one.received_at}
    return shown | {name: getattr(one, name) for name in names}


def _render(one: RejectedEvent) -> str:
    codes = " ".join(filter(None, (one.customer, one.product, one.type))) or "unknown origin"
    return f"{one.id}: {utc(one.received_at)}, {codes}: {one.reasons[0]}"


def _render_request(one: RejectedRequest) -> str:
    of = f" of {one.customer}" if one.customer else ""
    return f"{one.uuid}: {utc(one.received_at)}, {one.events} events{of}, {one.invalid} of them invalid"
