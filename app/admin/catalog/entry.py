"""Page of a catalog entry and its use, and the forms that add, change and remove entries."""

from __future__ import annotations

from collections.abc import Sequence

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField, TextAreaField

from app.admin.blueprint import services
from app.admin.catalog.catalog import key_of, link_to_entry
from app.admin.form_errors import attach_errors
from app.admin.lines_field import LinesField
from app.admin.pages import Values, action, confirm, link_to, page, redirect_with
from app.admin.reports.new_report import SUGGESTED
from app.auth import caller
from app.exceptions import FieldError, InputInvalid
from app.schemas.catalog import COLUMN
from app.services.catalog.listing import NAMES, PRODUCTS, TYPES, CatalogEntry

ENTRY_PATH = "/catalog/<any(product,type,customer):word>"
SHOWN_CODES = 50  # observed codes shown for an entry


class EntryForm(FlaskForm):
    """Form for a catalog entry; its field names are those of the document."""

    code = StringField("Code")
    product = StringField("Product")
    description = TextAreaField("Description")
    columns = LinesField("Columns")
    context = LinesField("Context")
    extra = StringField("Context items without a column")

    def to_document(self, kind: str) -> dict[str, object]:
        """Return the entry as the document represents it."""
        entry: dict[str, object] = {"code": self.code.data or "", "description": (self.description.data or "").strip()}
        if kind == TYPES:
            entry |= {"product": self.product.data or "", NAMES[kind]: self.context.lines}
        if kind == PRODUCTS:
            entry |= {NAMES[kind]: self.columns.lines, "extra": self.extra.data or COLUMN}
        return entry


@page(ENTRY_PATH)
def entry(word: str) -> str:
    """Show an entry and its use, with a form if the caller may change it."""
    found = _find_entry(word)
    names = "\n".join(found.names)
    form = EntryForm(None, description=found.description, columns=names, context=names, extra=found.extra)
    return _render_entry(found, form)


@action(ENTRY_PATH)
def change_entry(word: str) -> ResponseReturnValue:
    services().catalog_editor.allow(caller())
    found, form = _find_entry(word), EntryForm()
    form.code.data, form.product.data = found.code, found.product
    try:
        services().catalog_editor.change(caller(), found.kind, form.to_document(found.kind))
    except InputInvalid as error:
        return _render_entry(found, form, error.field_errors), 400
    message = f"The {found.title} is changed. Applies to reports started from now on."
    return redirect_with(message, link_to_entry(found))


@page(f"{ENTRY_PATH}/new")
def new_entry(word: str) -> str:
    """Show the form for a new entry, filled in from the query string."""
    services().catalog_editor.allow(caller())
    return _render_new_entry(word, EntryForm(request.args or None))


@action(f"{ENTRY_PATH}/new")
def add_entry(word: str) -> ResponseReturnValue:
    services().catalog_editor.allow(caller())
    form, kind = EntryForm(), f"{word}s"
    try:
        added = services().catalog_editor.add(caller(), kind, form.to_document(kind))
    except InputInvalid as error:
        return _render_new_entry(word, form, error.field_errors), 400
    return redirect_with(f"The {added.title} is added to the catalog.", link_to_entry(added))


@page(f"{ENTRY_PATH}/remove")
def confirm_remove_entry(word: str) -> str:
    services().catalog_editor.allow(caller())
    found = _find_entry(word)
    values = {"loss": services().catalog_editor.loss(found), "strict": services().catalog.strict}
    return confirm("admin/catalog/confirm_remove_entry.html", link_to_entry(found), entry=found, **values)


@action(f"{ENTRY_PATH}/remove")
def remove_entry(word: str) -> Response:
    services().catalog_editor.allow(caller())
    found = _find_entry(word)
    services().catalog_editor.remove(caller(), found, with_types="with_types" in request.form)
    message = f"The {found.title} is removed from the catalog. Its events stay."
    return redirect_with(message, link_to("catalog", kind=found.kind))


def _render_entry(entry: CatalogEntry, form: EntryForm, field_errors: Sequence[FieldError] = ()) -> str:
    values: Values = {
        "general": attach_errors(form, field_errors, blank_is_missing=True),
        "uses": services().catalog_listing.uses(caller(), entry),
        "shown": SHOWN_CODES,
        "may_change": services().catalog_editor.may_change(caller()),
    }
    if entry.kind == TYPES:
        layout = services().catalog.naming(entry.product)
        values |= {"without_column": layout.without_column(entry.code), "leaves_out": not layout.keeps_extras}
    return render_template("admin/catalog/entry.html", entry=entry, form=form, **values)


def _render_new_entry(word: str, form: EntryForm, field_errors: Sequence[FieldError] = ()) -> str:
    general = attach_errors(form, field_errors, blank_is_missing=True)
    values = {"products": services().catalog_editor.products(SUGGESTED + 1), "kind": f"{word}s", "word": word}
    return render_template("admin/catalog/new_entry.html", form=form, general=general, **values)


def _find_entry(word: str) -> CatalogEntry:
    """Return the entry that the URL names.

    Raises:
        CatalogUnknown: there is no such entry, or the caller may not see it.
    """
    if not request.args.get("code"):
        abort(404)
    kind = f"{word}s"
    return services().catalog_listing.get(caller(), kind, key_of(kind, request.args))
