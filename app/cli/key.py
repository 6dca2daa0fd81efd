"""`tally key`: manage ingest keys, which products need to send events if INGEST_AUTH requires them."""

from __future__ import annotations

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import command, say, say_all, services, utc, with_secret
from app.services.access.ingest_keys import IngestKey


@click.group()
def key() -> None:
    """Ingest keys: list, show, add, revoke."""


@key.command()
@click.argument("name")
@click.option("--customer", "customers", multiple=True, metavar="CODE", help="Only this customer's; repeatable.")
@click.option("--product", "products", multiple=True, metavar="CODE", help="Only this product's; repeatable.")
@command
def add(name: str, customers: tuple[str, ...], products: tuple[str, ...], as_json: bool) -> None:
    """Create a key and print it once; only its hash is stored. Unrestricted unless --customer or --product is given."""
    made, token = services().ingest_keys.add(name, customers, products)
    words = with_secret(f"Added {made.name}: for {_render_scope(made)}.", token)
    if not services().admission.needs_key:
        words += "\nEvents are also accepted without a key until INGEST_AUTH is set to key."
    say(_as_json(made) | {"key": token}, words, json=as_json)


@key.command("list")
@command
def list_keys(as_json: bool) -> None:
    """List the keys: those in use, then the revoked ones."""
    say_all(services().ingest_keys.all(), _as_json, _render, "There are no keys.", json=as_json)


@key.command()
@click.argument("name")
@command
def show(name: str, as_json: bool) -> None:
    """Show the key in use with a NAME, or the last one that was revoked."""
    found = next((one for one in services().ingest_keys.all() if one.name == name), None)
    if found is None:
        raise click.ClickException(f"There is no key {name}.")
    say(_as_json(found), _render(found), json=as_json)


@key.command()
@click.argument("name")
@yes_option
@command
def revoke(name: str, yes: bool, as_json: bool) -> None:
    """Revoke a key. Clients that still use it are answered 401, and their events are lost."""
    found = services().ingest_keys.named(name)
    confirm(f"Revoke the key {name}? Events that are sent with it are refused and lost.", yes=yes)
    services().ingest_keys.revoke(found)
    say({"name": name}, f"Revoked {name}. Every process refuses it within 5 seconds.", json=as_json)


def _as_json(one: IngestKey) -> dict[str, object]:
    return {
        "name": one.name,
        "hint": one.hint,
        "customers": one.customers,
        "products": one.products,
        "created": one.created_at,
        "used": one.used_at,
        "revoked": one.revoked_at,
    }


def _render(one: IngestKey) -> str:
    used = f"last used {utc(one.used_at)}" if one.used_at else "never used"
    state = f"revoked {utc(one.revoked_at)}" if one.revoked_at else used
    return f"{one.name}: {one.hint}…, for {_render_scope(one)}, added {utc(one.created_at)}, {state}"


def _render_scope(one: IngestKey) -> str:
    limits = (("customers", one.customers), ("products", one.products))
    return " and ".join(f"all {what}" if codes is None else f"the {what} {', '.join(codes)}" for what, codes in limits)
