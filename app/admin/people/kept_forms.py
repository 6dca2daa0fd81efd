"""Pages that show a form sent after the session had ended, and send or discard it after the next sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flask import flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField
from wtforms.fields.core import UnboundField

from app import auth
from app.admin.blueprint import blueprint, services
from app.admin.pages import action, forms_kept, link_to, page, redirect_with
from app.auth import FORM_TOKEN, caller
from app.exceptions import FormNotKept, SessionMissing
from app.services.people.kept_forms import KeptForm

PATH = "/kept-forms/<key>"
SHOWN_CHARACTERS = 500  # of a value
SIGNED_OUT = "You were signed out."
BACK = "Your browser's Back button may still show it."
SECRET = "What you typed is lost, because forms with passwords or other secrets are not saved."  # noqa: S105
WITH_FILE = "What you typed is lost, because forms with files are not saved."


@dataclass(frozen=True)
class ShownField:
    """Field of a kept form, ready to be shown.

    Attributes:
        hidden_characters: how many characters of the value are not shown.
    """

    label: str
    value: str
    hidden_characters: int


def keep_form() -> ResponseReturnValue | None:
    """Keep the sent form, and redirect to the sign-in, or to the kept form if its user has signed in again meanwhile.

    Return None if the form's page was not shown to the signed-in user, or if its user is unknown.
    """
    account, principal = auth.form_account(), auth.current_principal()
    if account is None or request.endpoint not in forms_kept or (principal and principal.id != account):
        return None
    return _keep(account, is_signed_in=principal is not None)


@blueprint.errorhandler(SessionMissing)
def _lead_to_sign_in(error: SessionMissing) -> ResponseReturnValue:
    return _keep(auth.form_account(), is_signed_in=False)


def _keep(account: int | None, *, is_signed_in: bool) -> Response:
    if not is_signed_in:
        flash(auth.why_signed_out() or SIGNED_OUT)
    try:
        address = _kept_address(account)
    except FormNotKept as error:
        flash(f"{error} {BACK}")
        address = None
    if is_signed_in:
        return redirect(address or link_to("overview"))
    return redirect(link_to("sign_in", next=address))


def _kept_address(account: int | None) -> str:
    """Keep the sent form, and return the address of the page that shows it. Raise FormNotKept."""
    if request.endpoint in ("admin.send_kept_form", "admin.discard_kept_form"):  # it is still kept
        return link_to("kept_form", **(request.view_args or {}))
    if request.endpoint not in forms_kept:
        raise FormNotKept(SECRET)
    if any(file.filename for file in request.files.values()):
        raise FormNotKept(WITH_FILE)
    if account is None:
        raise FormNotKept("What you typed is lost.")
    fields = [(name, value) for name, value in request.form.items(multi=True) if name != FORM_TOKEN]
    query = request.query_string.decode("latin-1")
    address = quote(request.path) + (f"?{query}" if query else "")
    form = KeptForm(account, request.endpoint, address, fields)
    return link_to("kept_form", key=services().kept_forms.keep(form))


@page(PATH)
def kept_form(key: str) -> str:
    """Show one of the caller's forms that was sent without a session."""
    form = services().kept_forms.get(key, caller().id)
    known = _fields_of({name for name, _ in form.fields})
    shown = [_shown(name, value, known.get(name)) for name, value in form.fields if value.strip()]
    act = _sentence(form.endpoint.partition(".")[2])
    return render_template("admin/people/kept_form.html", form=form, key=key, act=act, shown=shown)


@action(PATH)
def send_kept_form(key: str) -> Response:
    """Redirect this request, which has the form's fields and a new token, to the form's own address."""
    form = services().kept_forms.remove(key, caller().id)
    return redirect(request.root_path + form.address, 307)


@action(f"{PATH}/discard")
def discard_kept_form(key: str) -> Response:
    services().kept_forms.remove(key, caller().id)
    return redirect_with("The form is discarded. Nothing was sent.", link_to("overview"))


def _fields_of(names: set[str]) -> dict[str, UnboundField[Any]]:
    """Return the fields of the smallest form that has all names."""
    forms = [{name: getattr(kind, name) for name in dir(kind)} for kind in _forms(FlaskForm)]
    fields = [{name: one for name, one in form.items() if isinstance(one, UnboundField)} for form in forms]
    return min((form for form in fields if names <= form.keys()), key=len, default={})


def _forms(kind: type[FlaskForm]) -> Iterator[type[FlaskForm]]:
    for one in kind.__subclasses__():
        yield one
        yield from _forms(one)


def _shown(name: str, value: str, field: UnboundField[Any] | None) -> ShownField:
    if field and field.field_class is BooleanField:
        value = "Yes"
    label = str(field.args[0]) if field and field.args else _sentence(name)
    return ShownField(label, value[:SHOWN_CHARACTERS], max(0, len(value) - SHOWN_CHARACTERS))


def _sentence(name: str) -> str:
    """Return the name of a field or a view as words."""
    return name.replace("_", " ").strip().capitalize()
