"""Pages that list, create and revoke ingest keys."""

from __future__ import annotations

import structlog
from flask import current_app, flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response
from wtforms import Field, StringField, TextAreaField

from app.admin.blueprint import blueprint, services
from app.admin.form_errors import attach_errors
from app.admin.reports.report_rows import State
from app.auth import caller, need, signed_in
from app.exceptions import FieldError, InputInvalid
from app.services.access.ingest_keys import IngestKey

IN_USE = State("In use", "check-circle", "good")
REVOKED = State("Revoked", "slash-circle", "quiet")

log = structlog.get_logger(__name__)


class KeyForm(FlaskForm):
    """Form for a new ingest key."""

    name = StringField("Name")
    customers = TextAreaField("Customers")
    products = TextAreaField("Products")


@blueprint.get("/keys")
@signed_in
def keys() -> str:
    """Show all ingest keys."""
    need("keys")
    lines = [
        {"key": key, "state": REVOKED if key.revoked else IN_USE} for key in services().ingest_keys.all(by=caller())
    ]
    return render_template("admin/access/keys.html", lines=lines, needed=services().admission.needs_key)


@blueprint.get("/keys/new")
@signed_in
def new_key() -> str:
    """Show the form for a new key."""
    need("keys")
    return _form(KeyForm())


@blueprint.post("/keys/new")
@signed_in
def add_key() -> str | tuple[str, int]:
    """Create a key and show it once, which is why the response is a page rather than a redirect."""
    need("keys")
    form = KeyForm()
    try:
        key, token = services().ingest_keys.add(
            form.name.data or "", _lines(form.customers), _lines(form.products), by=caller()
        )
    except InputInvalid as error:
        return _form(form, error.field_errors), 400
    log.info("ingest key added", key=key.name, by=caller().name)
    known = {"needed": services().admission.needs_key, "base_url": current_app.config["SETTINGS"].base_url}
    return render_template("admin/access/key_added.html", key=key, token=token, **known)


@blueprint.get("/keys/<key>/revoke")
@signed_in
def revoke_key(key: str) -> str:
    """Ask for confirmation before a key is revoked, and show what is lost."""
    need("keys")
    return render_template("admin/access/revoke_key.html", key=_key(key))


@blueprint.post("/keys/<key>/revoke")
@signed_in
def end_key(key: str) -> Response:
    """Revoke a key."""
    need("keys")
    found = _key(key)
    services().ingest_keys.revoke(found, by=caller())
    log.info("ingest key revoked", key=found.name, by=caller().name)
    flash(f"{found.name} is revoked. It stops working within 5 seconds.")
    return redirect(url_for("admin.keys"))


def _form(form: KeyForm, field_errors: list[FieldError] = ()) -> str:
    general = attach_errors(form, field_errors, blank_is_missing=True)
    return render_template("admin/access/new_key.html", form=form, general=general)


def _lines(field: Field) -> list[str]:
    return [line.strip() for line in (field.data or "").splitlines() if line.strip()]


def _key(text: str) -> IngestKey:
    """Return the key whose id is in the URL.

    Raises:
        NotFound: the text is not an id.
        KeyUnknown: no key in use has this id.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotFound
    return services().ingest_keys.get(int(text), by=caller())
