"""`tally webhook`: servers that are notified of events."""

from __future__ import annotations

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import SAVE, command, say, say_all, services, utc, with_secret
from app.cli.params import ID
from app.schemas.webhooks import EVENT_TYPES
from app.services.people.principal import SYSTEM
from app.services.rows import Webhook

SHOWN_DELIVERIES = 10

type_option = click.option("--type", "types", multiple=True, type=click.Choice(list(EVENT_TYPES)), help="Repeatable.")


@click.group()
def webhook() -> None:
    """Webhooks: list, show, add, change, rotate, test, remove."""


@webhook.command()
@click.argument("name")
@click.argument("url")
@type_option
@click.option("--owner", metavar="USER", help="The user whose data it gets; default: the system, which sees all.")
@command
def add(name: str, url: str, types: tuple[str, ...], owner: str | None, as_json: bool) -> None:
    """Add a webhook with a NAME to a URL of WEBHOOK_HOSTS, and print its secret once.

    Without --type it gets only the reports of recurring reports that name it.
    """
    who = services().accounts.named(owner) if owner else SYSTEM
    added = services().webhooks.add(who, {"name": name, "url": url, "types": list(types)}, by=SYSTEM)
    words = with_secret(f"Added {_render(added.webhook)}", added.secret, f"This secret signs what it gets. {SAVE}")
    say(_as_json(added.webhook) | {"secret": added.secret}, words, json=as_json)


@webhook.command("list")
@command
def list_webhooks(as_json: bool) -> None:
    """List the webhooks of everyone, by name."""
    found = services().webhooks.visible(SYSTEM)
    say_all(found, _as_json, _render, "There are no webhooks.", json=as_json)


@webhook.command()
@ID
@command
def show(key: int, as_json: bool) -> None:
    """Show a webhook, and its latest deliveries."""
    found = services().webhooks.get(SYSTEM, key)
    latest = services().deliveries.newest(found, SHOWN_DELIVERIES)
    lines = [_render(found), *(f"  {utc(one.created_at)} {one.type} {one.state} {one.key}" for one in latest)]
    deliveries = [
        {
            "id": one.key,
            "type": one.type,
            "report": f"JOB-{one.report}" if one.report else None,
            "state": one.state,
            "created": one.created_at,
            "next_try": one.due_at,
        }
        for one in latest
    ]
    say(_as_json(found) | {"deliveries": deliveries}, "\n".join(lines), json=as_json)


@webhook.command()
@ID
@click.option("--name")
@click.option("--url")
@type_option
@click.option("--no-types", is_flag=True, help="Only the reports of recurring reports that name it.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it is notified at all.")
@command
def change(
    key: int,
    name: str | None,
    url: str | None,
    types: tuple[str, ...],
    no_types: bool,
    enabled: bool | None,
    as_json: bool,
) -> None:
    """Change a webhook. What is not named stays as it is, and so does its secret."""
    found = services().webhooks.get(SYSTEM, key)
    wanted = {"name": name or found.name, "url": url or found.url}
    services().webhooks.change(SYSTEM, found, wanted | {"types": [] if no_types else list(types) or found.types})
    if enabled is not None:
        (services().webhooks.enable if enabled else services().webhooks.disable)(SYSTEM, found)
    found = services().webhooks.get(SYSTEM, key)
    say(_as_json(found), f"Changed {_render(found)}", json=as_json)


@webhook.command()
@ID
@click.option("--at-once", is_flag=True, help="The old secret stops signing now.")
@yes_option
@command
def rotate(key: int, at_once: bool, yes: bool, as_json: bool) -> None:
    """Create a new secret and print it once; the old one signs beside it for 24 hours."""
    found = services().webhooks.get(SYSTEM, key)
    if at_once:
        confirm(f"Replace the secret of {found.name}? The old one stops signing.", yes=yes)
    secret = services().webhooks.rotate(SYSTEM, found, at_once=at_once)
    say({"id": key, "secret": secret}, f"{secret}\n\n{SAVE}", json=as_json)


@webhook.command()
@ID
@command
def test(key: int, as_json: bool) -> None:
    """Send a test now, and print the answer. It fails unless the answer is 200 to 299."""
    found = services().webhooks.get(SYSTEM, key)
    (tried,) = services().deliveries.tries([delivery := services().deliveries.test(SYSTEM, found)])[delivery.id]
    answer = f"{tried.code}: {tried.said}" if tried.code else tried.said
    say({"id": delivery.key, "code": tried.code, "answer": tried.said, "took_ms": tried.took_ms}, answer, json=as_json)
    if delivery.state != "delivered":
        raise click.ClickException(f"{found.name} did not accept the test.")


@webhook.command()
@ID
@yes_option
@command
def remove(key: int, yes: bool, as_json: bool) -> None:
    """Remove a webhook and the record of its deliveries."""
    found = services().webhooks.get(SYSTEM, key)
    confirm(f"Remove the webhook {found.name}? What waits for it is not sent.", yes=yes)
    services().webhooks.remove(SYSTEM, found)
    say({"id": key}, f"Removed {found.name}.", json=as_json)


def _as_json(one: Webhook) -> dict[str, object]:
    schedules = [schedule.id for schedule in services().webhooks.schedules(SYSTEM, one)]
    shown = {name: getattr(one, name) for name in ("id", "name", "url", "types")}
    shown |= {"schedules": schedules, "owner": one.owner_name, "enabled": one.disabled_at is None}
    return shown | {"reason": one.reason, "created": one.created_at}


def _render(one: Webhook) -> str:
    named = len(services().webhooks.schedules(SYSTEM, one))
    gets = ", ".join(one.types) or "no event types"
    state = "" if one.disabled_at is None else f"; disabled{f': {one.reason}' if one.reason else ''}"
    return f"{one.id}: {one.name} of {one.owner_name}, {one.url}, {gets}, {named} recurring reports{state}"
