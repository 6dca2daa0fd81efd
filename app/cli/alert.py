"""`tally alert`: alert rules, silences, and the alerts that fire or fired."""

from __future__ import annotations

from typing import Any

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import command, say, say_all, services, utc
from app.cli.params import ID, options
from app.schemas.alerts import CHECKS, KINDS, PARAMETERS, PERS, condition, scope
from app.services.alerts.judging import label
from app.services.people.principal import SYSTEM
from app.services.rows import Alert, AlertRule, AlertSilence

CODES = ("customer", "product", "type")


@click.group()
def alert() -> None:
    """Alert rules and alerts: list, show, add, change, remove, silence, history, check."""


rule_options = options(
    click.option("--per", type=click.Choice(PERS), help="What has an alert of its own."),
    click.option("--customer", metavar="CODE", help="Only events of this customer."),
    click.option("--product", metavar="CODE", help="Only events of this product."),
    click.option("--type", metavar="CODE", help="Only events of this type, with --product."),
    click.option("--minutes", type=int, help="stopped: the shortest silence."),
    click.option("--factor", type=int, help="volume: how many times more or less than normal."),
    click.option("--direction", help="volume: both, drop or rise; threshold: more or fewer."),
    click.option("--percent", type=int, help="rejected: the largest share."),
    click.option("--minimum", type=int, help="rejected: fewer rejected events are no alert."),
    click.option("--events", type=int, help="threshold: the number of events."),
    click.option("--period", help="threshold: hour or day."),
    click.option("--check", "checks", multiple=True, type=click.Choice(CHECKS), help="health; repeatable."),
    click.option("--channel", "channels", multiple=True, type=int, help="Id of a channel to notify; repeatable."),
    click.option("--on/--off", "active", default=None, help="Whether it is evaluated."),
)


@alert.command("list")
@command
def list_rules(as_json: bool) -> None:
    """List the rules, by name."""
    found = services().alert_rules.visible(SYSTEM)
    say_all(found, _as_json, _render, "There are no alert rules.", json=as_json)


@alert.command()
@ID
@command
def show(key: int, as_json: bool) -> None:
    """Show a rule, how many series it watches and still learns, and its alerts that are pending or firing."""
    found = services().alert_rules.get(SYSTEM, key)
    alerts = [one for one in services().alerts.current(SYSTEM) if one.rule == key]
    watched = services().alerts.watched(found)
    number = {"series": watched.series, "learning": watched.learning} if watched else {}
    lines = [_render(found), *(f"  {name}: {value:,}" for name, value in number.items())]
    lines += [f"  {_render_alert(one)}" for one in alerts]
    shown = _as_json(found) | number | {"alerts": [_alert_as_json(one) for one in alerts]}
    say(shown, "\n".join(lines), json=as_json)


@alert.command()
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(KINDS))
@rule_options
@command
def add(name: str, kind: str, as_json: bool, **given: Any) -> None:
    """Add a rule with a NAME. Without --channel, all channels are notified."""
    added = services().alert_rules.add(SYSTEM, _request(kind, given) | {"name": name, "kind": kind})
    say(_as_json(added), f"Added {_render(added)}.", json=as_json)


@alert.command()
@ID
@click.option("--name")
@click.option("--all-channels", is_flag=True, help="Notify all channels.")
@rule_options
@command
def change(key: int, name: str | None, all_channels: bool, as_json: bool, **given: Any) -> None:
    """Change a rule. What is not named stays as it is; an empty code means all."""
    found = services().alert_rules.get(SYSTEM, key)
    wanted: dict[str, Any] = {"name": name or found.name, "kind": found.kind, "per": found.per, "active": found.active}
    wanted |= {code: getattr(found, code) for code in CODES if getattr(found, code) is not None}
    wanted |= {"channels": found.channels} if found.channels is not None else {}
    asked = _request(found.kind, given)
    wanted |= asked | {"parameters": found.parameters | asked["parameters"]}
    for code in CODES:
        if given[code] == "":
            wanted.pop(code)
    if all_channels:
        wanted.pop("channels", None)
    changed = services().alert_rules.change(SYSTEM, found, wanted)
    say(_as_json(changed), f"Changed {_render(changed)}.", json=as_json)


@alert.command()
@ID
@yes_option
@command
def remove(key: int, yes: bool, as_json: bool) -> None:
    """Remove a rule and its silences; its past alerts stay."""
    found = services().alert_rules.get(SYSTEM, key)
    confirm(f"Remove the alert rule {found.name}? Its past alerts stay.", yes=yes)
    services().alert_rules.remove(SYSTEM, found)
    say({"id": key}, f"Removed {found.name}.", json=as_json)


@alert.command()
@click.option("--rule", type=int, metavar="ID", help="Only alerts of this rule.")
@click.option("--customer", metavar="CODE", help="Only alerts about this customer.")
@click.option("--product", metavar="CODE", help="Only alerts about this product.")
@click.option("--type", metavar="CODE", help="Only alerts about this type.")
@click.option("--hours", type=int, help="For how long.")
@click.option("--reason", help="Why, for others.")
@click.option("--end", type=int, metavar="ID", help="End a silence instead.")
@command
def silence(end: int | None, as_json: bool, **given: Any) -> None:
    """Silence matching alerts: they fire, but notify nobody. Without options, list the silences."""
    wanted = {name: value for name, value in given.items() if value is not None}
    if end is not None:
        ended = services().alert_silences.get(SYSTEM, end)
        services().alert_silences.end(SYSTEM, ended)
        say({"id": end}, f"Ended the silence {end}.", json=as_json)
    elif wanted:
        added = services().alert_silences.add(SYSTEM, wanted)
        say(_silence_as_json(added), f"Added {_render_silence(added)}.", json=as_json)
    else:
        found = services().alert_silences.visible(SYSTEM)
        say_all(found, _silence_as_json, _render_silence, "There are no silences.", json=as_json)


@alert.command()
@click.option("--rule", type=int, metavar="ID", help="Only of this rule.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000))
@command
def history(rule: int | None, limit: int, as_json: bool) -> None:
    """List the alerts that fired, the newest first."""
    found = services().alerts.history(SYSTEM, limit, rule)
    say_all(found, _alert_as_json, _render_alert, "No alert has fired.", json=as_json)


@alert.command()
@command
def check(as_json: bool) -> None:
    """Evaluate the rules if no scheduler did within a minute, and list what is pending or firing."""
    services().alert_evaluation.evaluate()
    found = services().alerts.current(SYSTEM)
    say_all(found, _alert_as_json, _render_alert, "Nothing is pending or firing.", json=as_json)


def _request(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the given options as a request for a rule. Raise UsageError if one does not belong to its kind."""
    of_kinds = {name for schema in PARAMETERS.values() for name in schema().fields}
    parameters = {name: given[name] for name in of_kinds if given[name] not in (None, ())}
    if wrong := sorted(parameters.keys() - PARAMETERS[kind]().fields.keys()):
        raise click.UsageError(f"A rule of the kind {kind} has no {' and no '.join(wrong)}.")
    wanted: dict[str, Any] = {name: given[name] for name in ("per", "active", *CODES) if given[name] not in (None, "")}
    wanted |= {"channels": list(given["channels"])} if given["channels"] else {}
    return wanted | {
        "parameters": {name: list(value) if name == "checks" else value for name, value in parameters.items()}
    }


def _as_json(one: AlertRule) -> dict[str, object]:
    names = ("id", "name", "kind", "per", *CODES, "parameters", "channels", "active")
    return {name: getattr(one, name) for name in names}


def _render(one: AlertRule) -> str:
    state = "" if one.active else ", off"
    return f"{one.id}: {one.name}, {one.kind}, {scope(one)}: {condition(one)}{state}"


def _alert_as_json(one: Alert) -> dict[str, object]:
    names = ("id", "rule", "rule_name", "kind", *CODES, "subject", "state", "title", "seen", "expected", "details")
    times = {"since": one.since_at, "firing": one.firing_at, "resolved": one.resolved_at, "notified": one.notified_at}
    return {name: getattr(one, name) for name in names} | times


def _render_alert(one: Alert) -> str:
    when = f"resolved {utc(one.resolved_at)}" if one.resolved_at else f"since {utc(one.since_at)}"
    return f"{one.id}: {one.state}, {label(one)}: {one.title}, {when}. {one.seen} {one.expected}".rstrip()


def _silence_as_json(one: AlertSilence) -> dict[str, object]:
    names = ("id", "rule", *CODES, "reason", "who")
    return {name: getattr(one, name) for name in names} | {"created": one.created_at, "until": one.until_at}


def _render_silence(one: AlertSilence) -> str:
    codes = [f"{name} {getattr(one, name)}" for name in ("rule", *CODES) if getattr(one, name) is not None]
    return f"{one.id}: {', '.join(codes) or 'all alerts'} until {utc(one.until_at)}, by {one.who}: {one.reason}"
