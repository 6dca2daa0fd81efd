"""Export of the catalog as a document, and import with a preview of the changes."""

from __future__ import annotations

import orjson
from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from wtforms import TextAreaField

from app.admin.blueprint import services
from app.admin.form_errors import messages_of
from app.admin.pages import action, link_to, page, redirect_with
from app.auth import caller
from app.exceptions import BodyMalformed, BodyTooLarge, InputInvalid
from app.services.catalog.editor import Changes

FILE_NAME = "catalog.json"
MAX_BYTES = 4_000_000  # the limit of a form's text, too
SHOWN_CHANGES = 50  # errors, and changes of each kind, that a page shows
SHOWN_LACKING = 5


class DocumentForm(FlaskForm):
    """Catalog document, as a file or as text."""

    file = FileField("File")
    text = TextAreaField("Or paste JSON")

    def document(self) -> bytes:
        """Return the document. A chosen file is copied to the text field, so that it need not be chosen again.

        Raises:
            BodyTooLarge: the file is too large.
        """
        data = self.file.data.read(MAX_BYTES + 1) if self.file.data else b""
        if len(data) > MAX_BYTES:
            raise BodyTooLarge(f"The document has more than {MAX_BYTES:,} bytes. Import it by: tally catalog import.")
        if data:
            self.text.data = data.decode(errors="replace")
        return data or (self.text.data or "").encode(errors="surrogatepass")


@page("/catalog/export")
def export_catalog() -> Response:
    """Return the document with the entries that the caller may see."""
    body = orjson.dumps(services().catalog.export(caller()), option=orjson.OPT_INDENT_2)
    headers = {"Content-Disposition": f'attachment; filename="{FILE_NAME}"'}
    return Response(body, content_type="application/json", headers=headers)


@page("/catalog/import")
def choose_document() -> str:
    services().catalog_editor.allow(caller())
    return _render_form(DocumentForm())


@action("/catalog/import")
def import_document() -> ResponseReturnValue:
    """Preview the changes that the document makes, or apply them once the preview is confirmed."""
    services().catalog_editor.allow(caller())
    form = DocumentForm()
    document = form.document()
    try:
        if "import" not in request.form:
            return _render_form(form, services().catalog_editor.preview(document))
        changes = services().catalog_editor.put(caller(), document)
    except (BodyMalformed, InputInvalid) as error:
        form.text.errors = messages_of(error, body="The document")[:SHOWN_CHANGES]
        return _render_form(form), 400
    added, changed = (
        f"{len(titles):,} {'entry is' if len(titles) == 1 else 'entries are'}"
        for titles in (changes.added, changes.changed)
    )
    message = f"{added} added, {changed} changed, {changes.same:,} unchanged."
    if lacking := services().catalog.items_without_column():
        more = f" and {len(lacking) - SHOWN_LACKING:,} more types" if len(lacking) > SHOWN_LACKING else ""
        message += f" Items without a column: {'; '.join(lacking[:SHOWN_LACKING])}{more}."
    return redirect_with(message, link_to("catalog", kind="products"))


def _render_form(form: DocumentForm, changes: Changes | None = None) -> str:
    return render_template("admin/catalog/import_catalog.html", form=form, changes=changes, most=SHOWN_CHANGES)
