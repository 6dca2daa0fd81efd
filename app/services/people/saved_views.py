"""Saved views: filters of a page that a user saves under a name, privately or shared with all users.

A view is only the query of a page's URL. A user who opens it sees what their own role and customers permit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, parse_qsl, urlencode

from app.exceptions import FieldError, Forbidden, InputInvalid, ViewUnknown
from app.schemas.field_errors import load
from app.schemas.people import SavedViewSchema
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.catalog.catalog import known_among
from app.store.database import transaction
from app.store.models import SavedView
from app.store.people import saved_views as store
from app.support.clock import now

MAX_VIEWS = 100  # of a user
MAX_QUERY = 8_000  # characters, about as many as a web server accepts in a URL


@dataclass(frozen=True)
class View:
    """Saved view.

    Attributes:
        page: the name of the page.
        query: of its URL, without `?`.
        owner: the name of the user who saved it.
        is_own: whether that is the caller.
        may_remove: whether the caller may remove it.
    """

    id: int
    name: str
    page: str
    query: str
    owner: str
    is_shared: bool
    is_own: bool
    may_remove: bool


def on_page(who: Principal, page: str) -> list[View]:
    """Return the caller's views of a page, then those that others share, unless a customer in them is not visible."""
    views = [_view(who, *found) for found in store.on_page(who.id, page)]
    return sorted((view for view in views if view.is_own or _is_visible(who, view)), key=lambda view: not view.is_own)


def of(who: Principal) -> list[View]:
    """Return the caller's views of all pages."""
    return [_view(who, *found) for found in store.of(who.id)]


def get(who: Principal, key: int) -> View:
    """Return a view that the caller may open. Raise ViewUnknown if there is none."""
    found = store.by_id(key)
    view = _view(who, *found) if found else None
    if view is None or not (view.is_own or (view.is_shared and _is_visible(who, view))):
        raise ViewUnknown("There is no such saved view. It may have been removed.")
    return view


def add(who: Principal, page: str, query: str, name: str, *, is_shared: bool = False) -> View:
    """Save a view.

    Raises:
        InputInvalid: the name is invalid or taken, the query is empty, too long or has NUL, or the user has too many
            views.
    """
    loaded = load(SavedViewSchema(), {"name": name.strip()}, "The view")
    pairs = parse_qsl(query)
    query = urlencode(pairs)
    if any("\0" in text for pair in pairs for text in pair):
        raise InputInvalid("The view has a fault.", [FieldError("The filter has a NUL character; it must have none.")])
    if not 1 <= len(query) <= MAX_QUERY:
        fault = f"The filter has {len(query):,} characters; it must have 1 to {MAX_QUERY:,}."
        raise InputInvalid("The view is invalid.", [FieldError(fault)])
    with transaction():
        if store.count(who.id) >= MAX_VIEWS:
            fault = f"You have {MAX_VIEWS} saved views, which is the maximum. Remove one first."
            raise InputInvalid("There are too many views.", [FieldError(fault)])
        row = store.add(who.id, page, loaded["name"], query, is_shared, now())
        if row is None:
            fault = f'name is "{loaded["name"]}", which another of your views of this page has; choose a different one.'
            raise InputInvalid("The name is taken.", [FieldError(fault)])
        if is_shared:
            audit.note(who, "view shared", _in_audit(row.id, row.name, query), _details(page, query))
    return _view(who, row, who.name)


def remove(who: Principal, view: View) -> None:
    """Remove a view.

    Raises:
        Forbidden: it belongs to another user, and the caller is not an admin.
        ViewUnknown: it was removed in the meantime.
    """
    if not view.may_remove:
        raise Forbidden("Only its owner or an administrator may remove a shared view.")
    with transaction():
        if not store.remove(view.id):
            raise ViewUnknown("There is no such saved view. It may have been removed.")
        if view.is_shared:
            details = _details(view.page, view.query) | {"owner": view.owner}
            audit.note(who, "shared view removed", _in_audit(view.id, view.name, view.query), details)


def seeking(who: Principal, value: str, customers: Sequence[str] | None, item: str | None = None) -> list[View]:
    """Return the views of all users that seek a value, which may be a person's id.

    Args:
        customers: only views that name some of these customers and no others. None means all views.
        item: the name of the context item that has the value. None means any.
    """
    found = []
    for row, owner in store.every():
        query = parse_qs(row.query)
        named = query.get("customer", ())
        is_within = customers is None or (named and set(named) <= set(customers))
        is_sought = any(value in query.get(name, ()) for name in audit.SOUGHT)
        is_of_item = item is None or query.get("context", [item]) == [item]
        if is_within and is_sought and is_of_item:
            found.append(_view(who, row, owner))
    return found


def _in_audit(key: int, name: str, query: str) -> str:
    """Return what the audit log calls a view. The name of one that seeks a value may contain the value."""
    return f"view {name}" if audit.SOUGHT.isdisjoint(parse_qs(query)) else f"view {key}"


def _details(page: str, query: str) -> dict[str, object]:
    """Return what the audit log has about a view."""
    pairs, described = parse_qsl(query), audit.without_sought(dict(parse_qsl(query)))
    rest = urlencode([(name, value) for name, value in pairs if name in described])
    return {"page": page, "query": rest} | {name: value for name, value in described.items() if name not in dict(pairs)}


def _view(who: Principal, row: SavedView, owner: str) -> View:
    is_own = row.account == who.id
    may_remove = is_own or who.may("users")
    return View(row.id, row.name, row.page, row.query, owner, row.is_shared, is_own, may_remove)


def _is_visible(who: Principal, view: View) -> bool:
    """Return whether a user may see all customers in a view. A list of reports is also filtered by them as a text."""
    query = parse_qs(view.query)
    named, texts = query.get("customer", ()), query.get("text", ())
    unseen = [text for text in texts if not who.sees(text)]
    return who.sees(*named) and not (unseen and known_among("customer", unseen))
