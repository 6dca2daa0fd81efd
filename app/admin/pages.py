"""The kit of every page: routes with their permission, parts that refresh, questions before an act, ids in queries."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint
from app.auth import need, signed_in

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]
Values = dict[str, object]  # of a template
ID_DIGITS = 18
forms_kept: set[str] = set()  # endpoints of forms that are kept if they are sent without a session


def page(path: str, permission: str | None = None, *, defaults: Values | None = None) -> Callable[[View[P]], View[P]]:
    """Serve GET requests for a path below `/admin`, for signed-in users who have the permission."""
    return lambda view: _add("GET", path, permission, view, defaults)


def action(path: str, permission: str | None = None, *, has_secrets: bool = False) -> Callable[[View[P]], View[P]]:
    """Serve POST requests for a path below `/admin`, for signed-in users who have the permission.

    Args:
        has_secrets: the form contains passwords or other secrets, so it is not kept if the session has ended.
    """

    def register(view: View[P]) -> View[P]:
        if not has_secrets:
            forms_kept.add(f"{blueprint.name}.{view.__name__}")
        return _add("POST", path, permission, view)

    return register


def live_page(
    path: str, permission: str, template: str, *, part: str = "/part"
) -> Callable[[Callable[P, Values]], Callable[P, Values]]:
    """Serve a page, and the part of it that refreshes itself, by a function that returns the values of both templates.

    The part has the page's endpoint followed by `_part`, and its template's name begins with an underscore.

    Args:
        part: the path of the part below the page's.
    """

    def register(values: Callable[P, Values]) -> Callable[P, Values]:
        folder, _, name = template.rpartition("/")
        for suffix, below, shown in (("", "", template), ("_part", part, f"{folder}/_{name}")):
            _add_live(path + below, permission, shown, values, values.__name__ + suffix)
        return values

    return register


def confirm(template: str, back: str, **values: object) -> str:
    """Return a page that asks before an act; its form is sent to the page's own address.

    Args:
        template: a child of `admin/confirm.html`.
        back: the address to which a user returns who does not confirm.
    """
    return render_template(template, back=back, **values)


def redirect_with(message: str, address: str) -> Response:
    """Redirect to a page, which will show the message."""
    flash(message)
    return redirect(address)


def link_to(endpoint: str, **values: object) -> str:
    """Return the address of a page. Unlike `url_for`, it accepts values of any type for type checkers."""
    return url_for(f"admin.{endpoint}", _anchor=None, _method=None, _scheme=None, _external=None, **values)


def parse_id(text: str) -> int:
    """Return the id in a query or a form; the URL map parses those in a path.

    Raises:
        NotFound: the text is not an id.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS):
        raise NotFound
    return int(text)


def _add(method: str, path: str, permission: str | None, view: View[P], defaults: Values | None = None) -> View[P]:
    # `open_to_temporary` marks views themselves, which need no permission.
    guarded = signed_in(view if permission is None else _permitted(view, permission))
    blueprint.add_url_rule(path, view.__name__, guarded, defaults=defaults or {}, methods=[method])
    return view


def _permitted(view: View[P], permission: str) -> View[P]:
    @functools.wraps(view)
    def permitted(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        need(permission)
        return view(*args, **kwargs)

    return permitted


def _add_live(path: str, permission: str, template: str, values: Callable[P, Values], endpoint: str) -> None:
    @functools.wraps(values)
    def view(*args: P.args, **kwargs: P.kwargs) -> str:
        return render_template(template, **values(*args, **kwargs))

    view.__name__ = endpoint
    page(path, permission)(view)
