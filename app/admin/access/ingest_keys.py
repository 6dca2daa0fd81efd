"""Pages that list, create and revoke ingest keys."""

from __future__ import annotations

import structlog
from flask import current_app, render_template
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField

from app.admin.blueprint import services
from app.admin.form_errors import attach_errors
from app.admin.lines_field import LinesField
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.admin.states import KEY
from app.admin.unknown_codes import point_out_unknown
from app.auth import caller
from app.exceptions import InputInvalid

log = structlog.get_logger(__name__)


class KeyForm(FlaskForm):
    """Form for a new ingest key."""

    name = StringField("Name")
    customers = LinesField("Customers")
    products = LinesField("Products")


@page("/keys", "keys")
def keys() -> str:
    all_keys = services().ingest_keys.all(by=caller())
    lines = [{"key": key, "state": KEY["revoked" if key.revoked_at else "in_use"]} for key in all_keys]
    return render_template("admin/access/keys.html", lines=lines, needed=services().admission.needs_key)


@page("/keys/new", "keys")
def new_key() -> str:
    return render_template("admin/access/new_key.html", form=KeyForm(), general=[])


@action("/keys/new", "keys")
def add_key() -> ResponseReturnValue:
    """Create a key and show it once, which is why the response is a page rather than a redirect."""
    form = KeyForm()
    try:
        key, token = services().ingest_keys.add(
            form.name.data or "", form.customers.lines, form.products.lines, by=caller()
        )
    except InputInvalid as error:
        general = attach_errors(form, error.field_errors, blank_is_missing=True)
        return render_template("admin/access/new_key.html", form=form, general=general), 400
    point_out_unknown(form.customers.lines)
    log.info("ingest key added", key=key.name, by=caller().name)
    values = {"needed": services().admission.needs_key, "base_url": current_app.config["SETTINGS"].base_url}
    return render_template("admin/access/key_added.html", key=key, token=token, **values)


@page("/keys/<int:key>/revoke", "keys")
def confirm_revoke_key(key: int) -> str:
    found = services().ingest_keys.get(key, by=caller())
    return confirm("admin/access/confirm_revoke_key.html", link_to("keys"), key=found)


@action("/keys/<int:key>/revoke", "keys")
def revoke_key(key: int) -> Response:
    found = services().ingest_keys.get(key, by=caller())
    services().ingest_keys.revoke(found, by=caller())
    log.info("ingest key revoked", key=found.name, by=caller().name)
    return redirect_with(f"{found.name} is revoked. It stops working within 5 seconds.", link_to("keys"))
