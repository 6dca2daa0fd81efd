"""`tally channel`: where messages about alerts go."""

from __future__ import annotations

import sys

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import command, say, say_all, services, utc
from app.cli.params import options
from app.services.alerts.channels import Channel

target_options = options(
    click.option(
        "--mail", "addresses", multiple=True, metavar="ADDRESS", help="Send mail to this address; repeatable."
    ),
    click.option("--url-stdin", is_flag=True, help="Read a URL such as slack://… from standard input."),
)


@click.group()
def channel() -> None:
    """Alert channels: list, show, add, change, test, remove."""


@channel.command()
@click.argument("name")
@target_options
@command
def add(name: str, addresses: tuple[str, ...], url_stdin: bool, as_json: bool) -> None:
    """Add a channel with a NAME. Its server must be in ALERT_HOSTS; for mail, set SMTP_URL."""
    made = services().channels.add({"name": name} | _target(addresses, url_stdin=url_stdin))
    say(_as_json(made), f"Added {_render(made)}.", json=as_json)


@channel.command("list")
@command
def list_channels(as_json: bool) -> None:
    """List the channels by name."""
    found = services().channels.all()
    say_all(found, _as_json, _render, "There are no channels.", json=as_json)


@channel.command()
@click.argument("name")
@command
def show(name: str, as_json: bool) -> None:
    """Show a channel."""
    found = services().channels.named(name)
    say(_as_json(found), _render(found), json=as_json)


@channel.command()
@click.argument("name")
@click.option("--name", "new_name", metavar="NAME", help="Another name.")
@target_options
@click.option("--on/--off", "active", default=None, help="Whether messages are sent to it.")
@command
def change(
    name: str, new_name: str | None, addresses: tuple[str, ...], url_stdin: bool, active: bool | None, as_json: bool
) -> None:
    """Change a channel. What is not named stays as it is."""
    found = services().channels.named(name)
    wanted = {"name": new_name or name, "active": found.active if active is None else active}
    made = services().channels.change(found, wanted | _target(addresses, url_stdin=url_stdin))
    say(_as_json(made), f"Changed {_render(made)}.", json=as_json)


@channel.command()
@click.argument("name")
@command
def test(name: str, as_json: bool) -> None:
    """Send a test message, and print what came back."""
    outcome = services().channels.test(services().channels.named(name))
    if not outcome.is_good:
        raise click.ClickException(f"Not sent. {outcome.said}")
    say({"sent": outcome.is_good, "said": outcome.said}, f"Sent. {outcome.said}", json=as_json)


@channel.command()
@click.argument("name")
@yes_option
@command
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a channel from all rules, with the record of what was sent to it."""
    found = services().channels.named(name)
    confirm(f"Remove the channel {name}? Messages are no longer sent to it.", yes=yes)
    services().channels.remove(found)
    say({"name": name}, f"Removed {name}.", json=as_json)


def _target(addresses: tuple[str, ...], *, url_stdin: bool) -> dict[str, object]:
    if url_stdin:
        return {"url": sys.stdin.readline().strip()} | ({"addresses": list(addresses)} if addresses else {})
    return {"addresses": list(addresses)} if addresses else {}


def _as_json(one: Channel) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "to": one.shown,
        "active": one.active,
        "waiting": one.waiting,
        "sent": one.sent_at,
        "failing_since": one.failed_at,
        "problem": one.problem,
    }


def _render(one: Channel) -> str:
    if not one.active:
        state = "off"
    elif one.problem:
        state = f"failing: {one.problem}"
    else:
        state = f"last sent {utc(one.sent_at)}" if one.sent_at else "nothing sent yet"
    return f"{one.name}: {one.shown}, {state}"
