"""Saved views: the menu on a page with a filter, and the pages that save and remove a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, StringField

from app.admin.blueprint import blueprint
from app.admin.form_errors import attach_errors
from app.admin.pages import Values, action, confirm, link_to, page, redirect_with
from app.auth import caller
from app.exceptions import InputInvalid
from app.services.people import saved_views
from app.services.people.saved_views import View

# The pages whose filters can be saved: endpoint and title.
PAGES = {"events": "Events", "explore": "Explore", "reports": "Reports", "rejected_list": "Rejected events"}


class ViewForm(FlaskForm):
    """Form for a new view."""

    name = StringField("Name")
    is_shared = BooleanField("Share it with all users")


@blueprint.app_template_global()
def view_menu(name: str, filter: Mapping[str, object]) -> Values:
    """Return the values of `_saved_views.html` for a page with a filter, given as URL arguments."""
    given = {key: value for key, value in filter.items() if value is not None}
    query = urlencode(given, doseq=True)
    views = saved_views.on_page(caller(), name)
    is_new = query and query not in [view.query for view in views if view.is_own]
    return {"rows": view_rows(views), "new": link_to("new_view", page=name, query=query) if is_new else None}


def view_rows(views: Sequence[View]) -> list[Values]:
    """Return views with their addresses and the titles of their pages."""
    return [{"view": view, "address": _address(view.page, view.query), "title": PAGES[view.page]} for view in views]


@page("/me/views/new")
def new_view() -> str:
    return _render_form(ViewForm(formdata=None))


@action("/me/views/new")
def add_view() -> ResponseReturnValue:
    """Save a view, and return to it."""
    form, (name, query) = ViewForm(), _saved_page()
    try:
        view = saved_views.add(caller(), name, query, form.name.data or "", is_shared=form.is_shared.data)
    except InputInvalid as error:
        return _render_form(form, attach_errors(form, error.field_errors, blank_is_missing=True)), 400
    return redirect_with(f"The view {view.name} is saved.", _address(name, view.query))


@page("/me/views/<int:key>/remove")
def confirm_remove_view(key: int) -> str:
    view = saved_views.get(caller(), key)
    return confirm("admin/people/confirm_remove_view.html", _address(view.page, view.query), view=view)


@action("/me/views/<int:key>/remove")
def remove_view(key: int) -> Response:
    view = saved_views.get(caller(), key)
    saved_views.remove(caller(), view)
    return redirect_with(f"The view {view.name} is removed.", _address(view.page, view.query))


def _saved_page() -> tuple[str, str]:
    """Return the page and the query to save."""
    name, query = request.args.get("page", ""), request.args.get("query", "")
    return (name, query) if name in PAGES else abort(404)


def _address(name: str, query: str) -> str:
    return f"{link_to(name)}?{query}"


def _render_form(form: ViewForm, general: Sequence[str] = ()) -> str:
    name, query = _saved_page()
    pairs = [f"{field}: {value}" for field, value in parse_qsl(query)]
    values = {"page": name, "query": query, "pairs": pairs, "back": _address(name, query), "title": PAGES[name]}
    return render_template("admin/people/new_view.html", form=form, general=general, **values)
