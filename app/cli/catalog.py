"""`tally catalog`: import and export the known customers, products and event types."""

from __future__ import annotations

from typing import BinaryIO

import click
import orjson

from app.cli.catalog_entries import ENTRY_COMMANDS
from app.cli.output import command, say, services
from app.services.people import audit
from app.services.people.principal import SYSTEM
from app.store.database import transaction

WITHOUT_COLUMN = "Items without a column, which reports have in the last column, extra, or leave out if extra is drop:"


@click.group()
def catalog() -> None:
    """The catalog: list, show, add, change, remove entries; import or export it."""


for _command in ENTRY_COMMANDS:
    catalog.add_command(_command)


@catalog.command("import")
@click.argument("file", type=click.File("rb"))
@command
def import_file(file: BinaryIO, as_json: bool) -> None:
    """Import a catalog FILE (- for standard input): existing codes are updated, none are removed."""
    with transaction():
        counts = services().catalog.put(file.read())
        audit.note(SYSTEM, "catalog imported", details=counts)
    lacking = services().catalog.items_without_column()
    lines = ["Imported {customers} customers, {products} products, {types} types.".format(**counts)]
    lines += [WITHOUT_COLUMN, *lacking] if lacking else []
    say(counts | {"without_column": lacking}, "\n".join(lines), json=as_json)


@catalog.command()
@command
def export(as_json: bool) -> None:
    """Print the catalog as a document that import accepts."""
    document = services().catalog.export()
    say(document, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), json=as_json)
