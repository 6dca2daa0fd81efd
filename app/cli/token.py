"""`tally token`: manage API tokens, with which users' programs call the API."""

from __future__ import annotations

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import command, say, say_all, services, utc, with_secret
from app.services.people import tokens
from app.services.people.principal import SCOPES
from app.services.people.tokens import DEFAULT_DAYS, Token


@click.group()
def token() -> None:
    """API tokens of users: list, show, add, revoke."""


@token.command()
@click.argument("user")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(list(SCOPES)), help="Repeatable.")
@click.option("--customer", "customers", multiple=True, metavar="CODE", help="Limit to this customer; repeatable.")
@click.option("--days", default=DEFAULT_DAYS, show_default=True, help="How many days it works.")
@command
def add(user: str, name: str, scopes: tuple[str, ...], customers: tuple[str, ...], days: int, as_json: bool) -> None:
    """Create a token of a USER with a NAME, and print it once; only its hash is stored."""
    made, text = tokens.add(services().accounts.named(user), name, scopes, customers, days)
    say(_as_json(made) | {"token": text}, with_secret(f"Added {_render(made)}.", text), json=as_json)


@token.command("list")
@click.option("--user", help="Only this user's.")
@command
def list_tokens(user: str | None, as_json: bool) -> None:
    """List the tokens: those in use, then the revoked ones."""
    found = tokens.of(services().accounts.named(user)) if user else tokens.every()
    say_all(found, _as_json, _render, "There are no tokens.", json=as_json)


@token.command()
@click.argument("user")
@click.argument("name")
@command
def show(user: str, name: str, as_json: bool) -> None:
    """Show the token of a USER with a NAME, or the one of that name that was revoked."""
    found = _find(user, name, revoked=True)
    say(_as_json(found), _render(found), json=as_json)


@token.command()
@click.argument("user")
@click.argument("name")
@yes_option
@command
def revoke(user: str, name: str, yes: bool, as_json: bool) -> None:
    """Revoke a token. Programs that still use it are answered 401."""
    found = _find(user, name)
    confirm(f"Revoke the token {name} of {user}? Programs that use it are rejected.", yes=yes)
    tokens.revoke(found)
    say({"user": found.owner.name, "name": name}, f"Revoked {name}.", json=as_json)


def _find(user: str, name: str, *, revoked: bool = False) -> Token:
    """Return a user's token, preferably one that is not revoked."""
    named = [one for one in tokens.of(services().accounts.named(user)) if one.name == name]
    found = next((one for one in named if revoked or one.revoked_at is None), None)
    if found is None:
        raise click.ClickException(f"There is no token {name} of {user}{'' if revoked else ' in use'}.")
    return found


def _as_json(one: Token) -> dict[str, object]:
    return {
        "user": one.owner.name,
        "name": one.name,
        "hint": one.hint,
        "scopes": one.scopes,
        "customers": one.customers,
        "created": one.created_at,
        "expires": one.expires_at,
        "used": one.used_at,
        "revoked": one.revoked_at,
    }


def _render(one: Token) -> str:
    customers = "all customers of the user" if one.customers is None else ", ".join(one.customers)
    used = f"last used {utc(one.used_at)}" if one.used_at else "never used"
    until = f"revoked {utc(one.revoked_at)}" if one.revoked_at else f"expires {utc(one.expires_at)}"
    return f"{one.name} of {one.owner.name}: {one.hint}…, {', '.join(one.scopes)} for {customers}, {used}, {until}"
