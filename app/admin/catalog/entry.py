"""Page of a catalog entry and its use, and the forms that add, change and remove entries."""

from __future__ import annotations

from flask import abort, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField, TextAreaField

from app.admin.blueprint import blueprint, services
from app.admin.catalog.catalog import named
from app.admin.form_errors import attach_errors
from app.admin.reports.new_report import SUGGESTED
from app.auth import caller, signed_in
from app.exceptions import FieldError, InputInvalid
from app.schemas.catalog import COLUMN
from app.services.catalog.listing import NAMES, PRODUCTS, TYPES, CatalogEntry

KIND = "<any(product,type,customer):word>"
SHOWN = 50  # observed codes shown for an entry


class EntryForm(FlaskForm):
    """Form for a catalog entry; its field names are those of the document."""

    code = StringField("Code")
    product = StringField("Product")
    description = TextAreaField("Description")
    columns = TextAreaField("Columns")
    context = TextAreaField("Context")
    extra = StringField("Context items without a column")

    def values(self, kind: str) -> dict[str, object]:
        """Return the entry as the document represents it."""
        given = {"code": self.code.data or "", "description": (self.description.data or "").strip()}
        given |= {"product": self.product.data or ""} if kind == TYPES else {}
        if kind in NAMES:
            lines = (self[NAMES[kind]].data or "").splitlines()
            given[NAMES[kind]] = [line.strip() for line in lines if line.strip()]
        given |= {"extra": self.extra.data or COLUMN} if kind == PRODUCTS else {}
        return given


@blueprint.get(f"/catalog/{KIND}")
@signed_in
def entry(word: str) -> str:
    """Show an entry and its use, with a form if the caller may change it."""
    one = _one(word)
    names = "\n".join(one.names)
    filled = {"description": one.description, "columns": names, "context": names, "extra": one.extra}
    return _page(one, EntryForm(None, **filled))


@blueprint.post(f"/catalog/{KIND}")
@signed_in
def change_entry(word: str) -> tuple[str, int] | Response:
    """Change the values of an entry."""
    services().catalog_editor.allow(caller())
    one, form = _one(word), EntryForm()
    form.code.data, form.product.data = one.code, one.product
    try:
        services().catalog_editor.change(caller(), one.kind, form.values(one.kind))
    except InputInvalid as error:
        return _page(one, form, error.field_errors), 400
    flash(f"The {one.title} is changed. Applies to reports started from now on.")
    return redirect(_address(one))


@blueprint.get(f"/catalog/{KIND}/new")
@signed_in
def new_entry(word: str) -> str:
    """Show the form for a new entry, filled in from the query string."""
    services().catalog_editor.allow(caller())
    return _new(word, EntryForm(request.args or None))


@blueprint.post(f"/catalog/{KIND}/new")
@signed_in
def add_entry(word: str) -> tuple[str, int] | Response:
    """Add an entry."""
    services().catalog_editor.allow(caller())
    form = EntryForm()
    kind = f"{word}s"
    try:
        made = services().catalog_editor.add(caller(), kind, form.values(kind))
    except InputInvalid as error:
        return _new(word, form, error.field_errors), 400
    flash(f"The {made.title} is added to the catalog.")
    return redirect(_address(made))


@blueprint.get(f"/catalog/{KIND}/remove")
@signed_in
def remove_entry(word: str) -> str:
    """Ask for confirmation before an entry is removed, and show what is lost."""
    services().catalog_editor.allow(caller())
    one = _one(word)
    known = {"loss": services().catalog_editor.loss(one), "strict": services().catalog.strict}
    return render_template("admin/catalog/remove_entry.html", entry=one, address=_address(one), **known)


@blueprint.post(f"/catalog/{KIND}/remove")
@signed_in
def end_entry(word: str) -> Response:
    """Remove an entry."""
    services().catalog_editor.allow(caller())
    one = _one(word)
    services().catalog_editor.remove(caller(), one, with_types="with_types" in request.form)
    flash(f"The {one.title} is removed from the catalog. Its events stay.")
    return redirect(url_for("admin.catalog", kind=one.kind))


def _page(one: CatalogEntry, form: EntryForm, field_errors: list[FieldError] = ()) -> str:
    general = attach_errors(form, field_errors, blank_is_missing=True)
    uses = services().catalog_listing.uses(caller(), one)
    known = {"uses": uses, "shown": SHOWN, "may_change": services().catalog_editor.may_change(caller())}
    return render_template("admin/catalog/entry.html", entry=one, form=form, general=general, **known)


def _new(word: str, form: EntryForm, field_errors: list[FieldError] = ()) -> str:
    general = attach_errors(form, field_errors, blank_is_missing=True)
    known = {"products": services().catalog_editor.products(SUGGESTED + 1), "kind": f"{word}s", "word": word}
    return render_template("admin/catalog/new_entry.html", form=form, general=general, **known)


def _one(word: str) -> CatalogEntry:
    """Return the entry that the URL names.

    Raises:
        CatalogUnknown: there is no such entry, or the caller may not see it.
    """
    if not request.args.get("code"):
        abort(404)
    kind = f"{word}s"
    return services().catalog_listing.get(caller(), kind, named(kind, request.args))


def _address(one: CatalogEntry) -> str:
    of = {"product": one.product} if one.kind == TYPES else {}
    return url_for("admin.entry", word=one.word, code=one.code, **of)
