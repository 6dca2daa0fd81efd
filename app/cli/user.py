"""`tally user`: manage the users of the API and the dashboard."""

from __future__ import annotations

import sys

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import command, say, say_all, services
from app.services.people.principal import ANALYST, ROLES, SYSTEM, Principal

from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")

mail_option = click.option("--mail", metavar="ADDRESS", help="For mail about recurring reports; empty: none.")


@click.group()
def user() -> None:
    """Users: list, show, add, change, password, reset-totp, deactivate, activate, remove."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the user may do.")
@click.option("--customer", "customers", multiple=True, metavar="CODE", help="Limit to this customer; repeatable.")
@mail_option
@from_stdin
@command
def add(
    name: str, role: str, customers: tuple[str, ...], mail: str | None, password_stdin: bool, as_json: bool
) -> None:
    """Add a user. Analysts see only the customers named here; other roles see all unless some are named."""
    made = services().accounts.add(name, role, list(customers) or None, _password(password_stdin), mail=mail or "")
    say(_as_json(made), f"Added {_render(made)}.", json=as_json)


@user.command("list")
@command
def list_users(as_json: bool) -> None:
    """List the users."""
    say_all(services().accounts.everyone(), _as_json, _render, "", json=as_json)


@user.command()
@click.argument("name")
@command
def show(name: str, as_json: bool) -> None:
    """Show a user's role and customers."""
    found = services().accounts.named(name)
    say(_as_json(found), _render(found), json=as_json)


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), help="What the user may do.")
@click.option("--customer", "customers", multiple=True, metavar="CODE", help="Limit to this customer; repeatable.")
@click.option("--all-customers", is_flag=True, help="Remove the limit to customers; not for analysts.")
@mail_option
@command
def change(
    name: str, role: str | None, customers: tuple[str, ...], all_customers: bool, mail: str | None, as_json: bool
) -> None:
    """Change a user's role, customers or mail, from their next request on. What is not named stays as it is."""
    if not (role or customers or all_customers or mail is not None):
        raise click.UsageError("Name what changes: --role, --customer, --all-customers or --mail.")
    if customers and all_customers:
        raise click.UsageError("--customer and --all-customers exclude each other.")
    found = services().accounts.named(name)
    if all_customers and (role or found.role) == ANALYST:
        raise click.UsageError("An analyst sees only the customers that are named. Name them with --customer.")
    limits = None if all_customers else customers or found.customers
    if role or customers or all_customers:
        services().accounts.change(found, role or found.role, limits, mail=mail)
    elif mail is not None:
        services().accounts.set_mail(found, mail)
    changed = services().accounts.named(name)
    say(_as_json(changed), f"Changed {_render(changed)}.", json=as_json)


@user.command()
@click.argument("name")
@from_stdin
@command
def password(name: str, password_stdin: bool, as_json: bool) -> None:
    """Change a user's password; their sessions end."""
    services().accounts.set_password(name, _password(password_stdin))
    say({"name": name}, f"The password of {name} is changed.", json=as_json)


@user.command("reset-totp")
@click.argument("name")
@yes_option
@command
def reset_totp(name: str, yes: bool, as_json: bool) -> None:
    """Remove the second factor of a user who has lost it; their password is then enough."""
    found = services().accounts.named(name)
    confirm(f"Reset the second factor of {name}? Their password is then enough to sign in.", yes=yes)
    services().second_factors.remove(found, by=SYSTEM)
    say({"name": name}, f"The second factor of {name} is reset.", json=as_json)


@user.command()
@click.argument("name")
@yes_option
@command
def deactivate(name: str, yes: bool, as_json: bool) -> None:
    """Keep a user from signing in: their sessions end, and their API tokens are removed."""
    services().accounts.named(name)
    confirm(f"Deactivate the user {name}, and remove their API tokens?", yes=yes)
    services().accounts.deactivate(name)
    say({"name": name}, f"Deactivated {name}.", json=as_json)


@user.command()
@click.argument("name")
@command
def activate(name: str, as_json: bool) -> None:
    """Let a deactivated user sign in again."""
    services().accounts.activate(name)
    say({"name": name}, f"Activated {name}.", json=as_json)


@user.command()
@click.argument("name")
@yes_option
@command
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a user; their reports stay."""
    services().accounts.named(name)
    confirm(f"Remove the user {name}?", yes=yes)
    services().accounts.remove(name)
    say({"name": name}, f"Removed {name}.", json=as_json)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        # Some editors and shells write a byte order mark before a text, which is not part of the password.
        return sys.stdin.readline().removeprefix("\ufeff").rstrip("\r\n")
    return click.prompt("Password", hide_input=True, confirmation_prompt=True)


def _as_json(one: Principal) -> dict[str, object]:
    shown: dict[str, object] = {"name": one.name, "role": one.role, "customers": one.customers}
    shown |= {"mail": services().accounts.mail(one) or None, "second_factor": one.has_second_factor}
    shown |= {"active": one.is_active}
    return shown | {"sign_in": "oidc" if one.is_external else "password"}


def _render(one: Principal) -> str:
    limits = "all customers" if one.customers is None else ", ".join(one.customers) or "no customers"
    states = (
        ("second factor", one.has_second_factor),
        ("company account", one.is_external),
        ("deactivated", not one.is_active),
    )
    return ", ".join([f"{one.name}: {one.role}, {limits}", *(state for state, applies in states if applies)])
