"""`tally catalog list|show|add|change|remove|adopt`: single entries of the catalog."""

from __future__ import annotations

from typing import Any

import click

from app.cli.confirm import confirm, yes_option
from app.cli.output import command, say, say_all, services
from app.cli.params import limit_option, options
from app.schemas.catalog import EXTRAS
from app.services.catalog.editor import Loss
from app.services.catalog.listing import KINDS, NAMES, PRODUCTS, TYPES, CatalogEntry, Key, row_of
from app.services.people.principal import SYSTEM

KIND = click.argument("kind", type=click.Choice([kind.removesuffix("s") for kind in KINDS]))
CODE = click.argument("code")
PRODUCT = click.option("--product", metavar="CODE", help="The product of an event type; required for a type.")


value_options = options(
    click.option("--description", help="A description for people."),
    click.option("--column", "columns", multiple=True, metavar="NAME", help="A product's columns; repeatable."),
    click.option("--context", multiple=True, metavar="NAME", help="A type's context items in order; repeatable."),
    click.option("--extra", type=click.Choice(EXTRAS), help="A product's context items without a column."),
)


@click.command("list")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only of this kind; repeatable.")
@click.option("--find", default="", metavar="TEXT", help="Only entries that contain this text.")
@click.option("--missing", is_flag=True, help="Codes that were seen in events but are not in the catalog.")
@limit_option
@command
def list_entries(kinds: tuple[str, ...], find: str, missing: bool, limit: int, as_json: bool) -> None:
    """List customers, products and event types, up to the limit of each kind, with their events of 7 days."""
    listing, wanted = services().catalog_listing, kinds or KINDS
    if missing:
        found = [one for one in listing.missing_page(SYSTEM, find, 0, limit).entries if one.kind in wanted]
    else:
        found = [one for kind in wanted for one in listing.page(SYSTEM, kind, find, 0, limit).entries]
    say_all(found, _as_json, _render, "There are no such entries.", json=as_json)


@click.command("show")
@KIND
@CODE
@PRODUCT
@command
def show_entry(kind: str, code: str, product: str | None, as_json: bool) -> None:
    """Show a customer, a product or an event type by its CODE."""
    entry = services().catalog_listing.get(SYSTEM, f"{kind}s", _key(kind, code, product))
    lines = [_render(entry), *(f"  {name}" for name in entry.names)]
    say(_as_json(entry), "\n".join(lines), json=as_json)


@click.command("add")
@KIND
@CODE
@PRODUCT
@value_options
@command
def add_entry(kind: str, code: str, product: str | None, as_json: bool, **given: Any) -> None:
    """Add a customer, a product or an event type with its CODE."""
    _key(kind, code, product)
    values = {"code": code} | ({"product": product} if product else {}) | _values(kind, given)
    entry = services().catalog_editor.add(SYSTEM, f"{kind}s", values)
    say(_as_json(entry), f"Added {_render(entry)}.", json=as_json)


@click.command("change")
@KIND
@CODE
@PRODUCT
@value_options
@command
def change_entry(kind: str, code: str, product: str | None, as_json: bool, **given: Any) -> None:
    """Change an entry from the next report on. What is not named stays as it is."""
    entry = services().catalog_listing.get(SYSTEM, f"{kind}s", _key(kind, code, product))
    values = _values(kind, given)
    if not values:
        raise click.UsageError("Name what changes: --description, --column, --context or --extra.")
    changed = services().catalog_editor.change(SYSTEM, entry.kind, row_of(entry) | values)
    say(_as_json(changed), f"Changed {_render(changed)}.", json=as_json)


@click.command("remove")
@KIND
@CODE
@PRODUCT
@click.option("--with-types", is_flag=True, help="Also remove the types of the product.")
@yes_option
@command
def remove_entry(kind: str, code: str, product: str | None, with_types: bool, yes: bool, as_json: bool) -> None:
    """Remove an entry from the catalog; its events stay."""
    if with_types and f"{kind}s" != PRODUCTS:
        raise click.UsageError("--with-types is for a product.")
    entry = services().catalog_listing.get(SYSTEM, f"{kind}s", _key(kind, code, product))
    loss = services().catalog_editor.loss(entry)
    confirm(f"{_consequences(loss, with_types=with_types)}Remove the {entry.title}?", yes=yes)
    services().catalog_editor.remove(SYSTEM, entry, with_types=with_types)
    say(row_of(entry), f"Removed the {entry.title}.", json=as_json)


@click.command()
@command
def adopt(as_json: bool) -> None:
    """Add the codes that were seen in events but are not in the catalog, at most 1,000 at once."""
    found = services().catalog_editor.adopt(SYSTEM, None)
    none = "The catalog has every code that was seen."
    say_all(found, _as_json, lambda one: f"Added the {one.title}.", none, json=as_json)


ENTRY_COMMANDS: tuple[click.Command, ...] = (list_entries, show_entry, add_entry, change_entry, remove_entry, adopt)


def _key(kind: str, code: str, product: str | None) -> Key:
    if (f"{kind}s" == TYPES) != bool(product):
        raise click.UsageError("A type needs --product." if not product else "--product is for a type.")
    return (product, code) if product else (code,)


def _values(kind: str, given: dict[str, Any]) -> dict[str, object]:
    """Return the given values as in the catalog document.

    Raises:
        click.UsageError: a value does not belong to this kind.
    """
    allowed = {"description", NAMES.get(f"{kind}s", ""), *(("extra",) if f"{kind}s" == PRODUCTS else ())}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}
    for name in values.keys() - allowed:
        raise click.UsageError(f"--{name.removesuffix('s')} is not for a {kind}.")
    return values


def _as_json(one: CatalogEntry) -> dict[str, object]:
    return {"kind": one.word} | row_of(one) | {"events_day": one.day, "events_week": one.week}


def _render(one: CatalogEntry) -> str:
    described = f" ({one.description})" if one.description else ""
    return f"{one.title}{described}: {one.week:,} events in 7 days"


def _consequences(loss: Loss, *, with_types: bool) -> str:
    lost = [f"{product} no longer fills {', '.join(names)}." for product, names in loss.columns.items()]
    if loss.types:
        done = "are removed as well" if with_types else "stay"
        lost.append(f"Its types {done}: {', '.join(loss.types)}.")
    if loss.is_refused:
        lost.append("Events with this code are rejected from then on.")
    return "".join(f"{sentence} " for sentence in lost)
