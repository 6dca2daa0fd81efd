"""`tally reports schedule`: recurring reports and their webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from app.cli.confirm import confirm, yes_option
from app.cli.file_options import file_options, output_of
from app.cli.output import SAVE, command, say, say_all, services, utc, with_secret
from app.cli.params import ID
from app.schemas.reports import job, source
from app.schemas.schedules import MODES, covers, when
from app.services.people.principal import SYSTEM
from app.services.schedules.service import Saved
from app.store.models import Schedule

WEBHOOKS = "A webhook that is notified when a report has ended; repeatable. A URL adds a new one; see WEBHOOK_HOSTS."
SIGNS = "This secret signs its webhooks."
MAIL = "A user who gets mail with a link when a report has ended; repeatable."


@click.group()
def schedule() -> None:
    """Recurring reports: list, show, add, change, pause, resume, remove, run, secret."""


@schedule.command()
@click.argument("name")
@click.option("--customer", required=True)
@click.option("--product", required=True)
@click.option("--type", "types", multiple=True, help="Only this event type; repeatable.")
@click.option("--every", "recurrence", required=True, help="daily, weekly (on Monday) or monthly (on the 1st).")
@click.option("--hour", default=6, show_default=True, type=int, help="UTC, 0 to 23.")
@click.option("--since-last", is_flag=True, help="Everything since the last one, not the period that ended.")
@file_options
@click.option("--webhook", "webhooks", multiple=True, metavar="ID|URL", help=WEBHOOKS)
@click.option("--mail", "recipients", multiple=True, metavar="USER", help=MAIL)
@click.option("--owner", metavar="USER", help="The user who starts its reports; default: the system.")
@command
def add(
    owner: str | None,
    types: tuple[str, ...],
    webhooks: tuple[str, ...],
    recipients: tuple[str, ...],
    since_last: bool,
    as_json: bool,
    **given: object,
) -> None:
    """Add a recurring report, and print the secret of a new webhook once."""
    wanted = {name: given[name] for name in ("name", "recurrence", "hour") if given[name] is not None}
    wanted |= _read_webhooks(webhooks) | {"recipients": list(recipients)}
    wanted["filter"] = {"customer": given["customer"], "product": given["product"]} | (
        {"types": list(types)} if types else {}
    )
    wanted["mode"] = "since_last" if since_last else "period"
    if output := output_of(given):
        wanted["output"] = output
    starter = services().accounts.named(owner) if owner else SYSTEM
    _say_saved("Added", services().schedules.add(starter, wanted, by=SYSTEM), as_json)


@schedule.command("list")
@command
def list_schedules(as_json: bool) -> None:
    """List the recurring reports of everyone, by name."""
    found = services().schedules.visible(SYSTEM)
    say_all(found, _as_json, _render, "There are no recurring reports.", json=as_json)


@schedule.command()
@ID
@command
def show(key: int, as_json: bool) -> None:
    """Show a recurring report."""
    found = services().schedules.get(SYSTEM, key)
    lines = [_render(found), *(f"  {name}: {value}" for name, value in _as_json(found).items() if value is not None)]
    say(_as_json(found), "\n".join(lines), json=as_json)


@schedule.command()
@ID
@click.option("--name")
@click.option("--product", metavar="CODE")
@click.option("--type", "types", multiple=True, metavar="CODE", help="Only this event type; repeatable.")
@click.option("--all-types", is_flag=True, help="All event types.")
@click.option("--every", "recurrence", help="daily, weekly (on Monday) or monthly (on the 1st).")
@click.option("--hour", type=int, help="UTC, 0 to 23.")
@click.option("--mode", type=click.Choice(MODES), help="The period that ended, or everything since the last report.")
@file_options
@click.option("--webhook", "webhooks", multiple=True, metavar="ID|URL", help=f"{WEBHOOKS} Empty: none.")
@click.option("--mail", "recipients", multiple=True, metavar="USER", help=f"{MAIL} Empty: none.")
@command
def change(
    key: int,
    as_json: bool,
    types: tuple[str, ...],
    all_types: bool,
    webhooks: tuple[str, ...],
    recipients: tuple[str, ...],
    **given: Any,
) -> None:
    """Change a recurring report from its next report on. What is not named stays as it is."""
    found = services().schedules.get(SYSTEM, key)
    wanted: dict[str, Any] = {}
    for name in ("name", "recurrence", "hour", "mode"):
        wanted[name] = getattr(found, name) if given[name] is None else given[name]
    filter: dict[str, object] = {"customer": found.customer, "product": given["product"] or found.product}
    if not all_types and (named_types := list(types) or found.types):
        filter["types"] = named_types
    output = (found.output or {}) | output_of(given)
    wanted |= {"filter": filter} | ({"output": output} if output else {})
    named = [one.id for one in services().schedules.webhooks(found)]
    wanted |= _read_webhooks(webhooks) if webhooks else {"webhooks": named}
    wanted["recipients"] = [one for one in recipients if one] if recipients else _recipients(found)
    _say_saved("Changed", services().schedules.change(SYSTEM, found, wanted), as_json)


@schedule.command()
@ID
@command
def pause(key: int, as_json: bool) -> None:
    """Pause a recurring report: it starts no more reports until it is resumed."""
    found = services().schedules.get(SYSTEM, key)
    services().schedules.pause(SYSTEM, found)
    say({"id": key}, f"Paused {found.name}.", json=as_json)


@schedule.command()
@ID
@command
def resume(key: int, as_json: bool) -> None:
    """Resume a recurring report with its next run; missed runs are not made up for."""
    services().schedules.resume(SYSTEM, services().schedules.get(SYSTEM, key))
    found = services().schedules.get(SYSTEM, key)
    say(_as_json(found), f"Resumed {_render(found)}", json=as_json)


@schedule.command()
@ID
@yes_option
@command
def remove(key: int, yes: bool, as_json: bool) -> None:
    """Remove a recurring report and the record of what webhooks got of it; its reports stay."""
    found = services().schedules.get(SYSTEM, key)
    confirm(f"Remove the recurring report {found.name}? Its reports stay.", yes=yes)
    services().schedules.remove(SYSTEM, found)
    say({"id": key}, f"Removed {found.name}. Its reports stay.", json=as_json)


@schedule.command()
@ID
@command
def run(key: int, as_json: bool) -> None:
    """Start a report now, and print its source; the schedule does not change."""
    report = services().schedule_runs.run(SYSTEM, services().schedules.get(SYSTEM, key))
    say(job(report), source(report), json=as_json)


@schedule.command()
@ID
@yes_option
@command
def secret(key: int, yes: bool, as_json: bool) -> None:
    """Create a new secret for its webhook and print it once; the old one stops signing.

    Deprecated: use `tally webhook rotate`, whose old secret signs for 24 hours.
    """
    found = services().schedules.get(SYSTEM, key)
    click.echo("“secret” is deprecated. Use tally webhook rotate --at-once.", err=True)
    webhooks = services().schedules.webhooks(found)
    if len(webhooks) != 1:
        raise click.ClickException(f"{found.name} has {'several webhooks' if webhooks else 'no webhook'}.")
    confirm(f"Replace the secret of {found.name}? The old one stops signing.", yes=yes)
    made = services().webhooks.rotate(SYSTEM, webhooks[0], at_once=True)
    say({"id": key, "secret": made}, made, json=as_json)


def _say_saved(verb: str, saved: Saved, as_json: bool) -> None:
    shown, words = _as_json(saved.schedule), f"{verb} {_render(saved.schedule)}"
    if saved.secret:
        shown, words = shown | {"secret": saved.secret}, with_secret(words, saved.secret, f"{SIGNS} {SAVE}")
    say(shown, words, json=as_json)


def _as_json(one: Schedule) -> dict[str, object]:
    names = ("id", "name", "customer", "product", "types", "output", "recurrence", "hour", "mode")
    webhooks = services().schedules.webhooks(one)
    shown = {name: getattr(one, name) for name in names} | {"webhook": webhooks[0].url if webhooks else None}
    shown |= {"active": one.active, "owner": one.owner_name}
    last = f"JOB-{one.last_report}" if one.last_report else None
    shown |= {"reason": one.reason, "next_run": one.next_run_at, "last_run": one.last_run_at, "last_report": last}
    shown["recipients"] = _recipients(one)
    return shown | {"webhooks": [{"id": each.id, "name": each.name, "url": each.url} for each in webhooks]}


def _recipients(one: Schedule) -> list[str]:
    return [each.name for each in services().schedules.recipients(one) if each.removed_at is None]


def _read_webhooks(given: Sequence[str]) -> dict[str, object]:
    """Return the part of a request for --webhook: ids of webhooks, and at most one URL of a new one.

    A single URL is the request of version 1.0; see `Schedules.change`.
    """
    keys = [int(one) for one in given if one.isascii() and one.isdecimal()]
    urls = [one for one in given if one and not (one.isascii() and one.isdecimal())]
    if len(urls) > 1:
        raise click.UsageError("--webhook accepts one URL. Add the others by tally webhook add, and name their IDs.")
    return ({"webhooks": keys} if keys or not urls else {}) | ({"webhook": urls[0]} if urls else {})


def _render(one: Schedule) -> str:
    paused = f"paused: {one.reason}" if one.reason else "paused"
    state = f"next {utc(one.next_run_at)}" if one.active and one.next_run_at is not None else paused
    return f"{one.id}: {one.name}, {one.customer} {one.product}, {when(one)}, {covers(one)}; {state}"
