"""Export of the catalog as a document, and import with a preview of the changes."""

from __future__ import annotations

import orjson
from flask import Response, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from werkzeug.wrappers import Response as AnyResponse
from wtforms import TextAreaField

from app.admin.blueprint import blueprint, services
from app.auth import caller, signed_in
from app.exceptions import BodyMalformed, BodyTooLarge, InputInvalid
from app.services.catalog.editor import Changes

FILE = "catalog.json"
MAX_BYTES = 4_000_000  # the limit of a form's text, too
MOST = 50  # errors, and changes of each kind, that a page shows


class DocumentForm(FlaskForm):
    """Catalog document, as a file or as text."""

    file = FileField("File")
    text = TextAreaField("Or paste JSON")


@blueprint.get("/catalog/export")
@signed_in
def export_catalog() -> Response:
    """Return the document with the entries that the caller may see."""
    body = orjson.dumps(services().catalog.export(caller()), option=orjson.OPT_INDENT_2)
    headers = {"Content-Disposition": f'attachment; filename="{FILE}"'}
    return Response(body, content_type="application/json", headers=headers)


@blueprint.get("/catalog/import")
@signed_in
def choose_document() -> str:
    """Show the import form."""
    services().catalog_editor.allow(caller())
    return _page(DocumentForm())


@blueprint.post("/catalog/import")
@signed_in
def import_document() -> str | tuple[str, int] | AnyResponse:
    """Preview the changes that the document makes, or apply them once the preview is confirmed."""
    services().catalog_editor.allow(caller())
    form = DocumentForm()
    body = _body(form)
    try:
        if "import" not in request.form:
            return _page(form, services().catalog_editor.preview(body))
        changes = services().catalog_editor.put(caller(), body)
    except BodyMalformed as error:
        form.text.errors = [str(error).replace("The body", "The document", 1)]
        return _page(form), 400
    except InputInvalid as error:
        form.text.errors = [fault.message for fault in error.field_errors[:MOST]]
        return _page(form), 400
    flash(f"{_number(changes.added)} added, {_number(changes.changed)} changed, {changes.same:,} unchanged.")
    return redirect(url_for("admin.catalog", kind="products"))


def _body(form: DocumentForm) -> bytes:
    """Return the document. A chosen file is copied to the text field, so that it need not be chosen again."""
    data = form.file.data.read(MAX_BYTES + 1) if form.file.data else b""
    if len(data) > MAX_BYTES:
        raise BodyTooLarge(
            f"The document has more than {MAX_BYTES:,} bytes. Import it by: flask --app wsgi catalog import."
        )
    if data:
        form.text.data = data.decode(errors="replace")
    return data or (form.text.data or "").encode(errors="surrogatepass")


def _page(form: DocumentForm, changes: Changes | None = None) -> str:
    return render_template("admin/catalog/import_catalog.html", form=form, changes=changes, most=MOST)


def _number(titles: list[str]) -> str:
    return f"{len(titles):,} {'entry is' if len(titles) == 1 else 'entries are'}"
