"""Pages that list, create and revoke API tokens: those of the caller, and those of all users for admins."""

from __future__ import annotations

from collections.abc import Sequence

from flask import current_app, render_template
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import SelectMultipleField, StringField

from app.admin.form_errors import attach_errors
from app.admin.lines_field import LinesField
from app.admin.pages import Values, action, confirm, link_to, page, redirect_with
from app.admin.states import TOKEN
from app.admin.unknown_codes import point_out_unknown
from app.auth import caller
from app.exceptions import InputInvalid
from app.services.people import tokens as api_tokens
from app.services.people.principal import SCOPES
from app.services.people.tokens import DEFAULT_DAYS, Token

FIRST_SCOPE = "events:read"
TRIED = {"reports": "/reports", "system": "/metrics"}  # a route for the example of a permission; /events otherwise


class TokenForm(FlaskForm):
    """Form for a new API token."""

    name = StringField("Name")
    scopes = SelectMultipleField("Scopes", choices=(), default=[FIRST_SCOPE], validate_choice=False)
    customers = LinesField("Customers")
    days = StringField("Days until it expires", default=str(DEFAULT_DAYS))


@page("/tokens", "users")
def tokens() -> str:
    """Show the tokens of all users."""
    lines = token_rows(api_tokens.every(by=caller()))
    return render_template("admin/people/tokens.html", lines=lines)


@page("/me/tokens/new")
def new_token() -> str:
    return _render_form(TokenForm())


@action("/me/tokens/new")
def add_token() -> ResponseReturnValue:
    """Create a token and show it once, which is why the response is a page rather than a redirect."""
    form = TokenForm()
    days, scopes = (form.days.data or "").strip(), form.scopes.data or []
    try:
        token, text = api_tokens.add(caller(), form.name.data or "", scopes, form.customers.lines, days, by=caller())
    except InputInvalid as error:
        return _render_form(form, attach_errors(form, error.field_errors, blank_is_missing=True)), 400
    point_out_unknown(form.customers.lines)
    tried = current_app.config["SETTINGS"].base_url + TRIED.get(SCOPES[token.scopes[0]].permission, "/events")
    return render_template("admin/people/token_added.html", token=token, text=text, tried=tried)


@page("/tokens/<int:key>/revoke")
def confirm_revoke_token(key: int) -> str:
    found = api_tokens.get(key, by=caller())
    return confirm("admin/people/confirm_revoke_token.html", _list_of(found), token=found)


@action("/tokens/<int:key>/revoke")
def revoke_token(key: int) -> Response:
    found = api_tokens.get(key, by=caller())
    api_tokens.revoke(found, by=caller())
    return redirect_with(f"{found.name} is revoked.", _list_of(found))


def token_rows(tokens: Sequence[Token]) -> list[Values]:
    """Return tokens with their states, as `_token_table.html` shows them."""
    return [{"token": token, "state": TOKEN[token.state]} for token in tokens]


def _list_of(token: Token) -> str:
    """Return the address of the page that lists a token for the caller."""
    return link_to("me" if token.owner.id == caller().id else "tokens")


def _render_form(form: TokenForm, general: Sequence[str] = ()) -> str:
    permitted = {scope: one.description for scope, one in SCOPES.items() if caller().may(one.permission)}
    return render_template("admin/people/new_token.html", form=form, scopes=permitted, general=general)
