"""Queries about saved views."""

from __future__ import annotations

from peewee import Expression

from app.store.models import Account, SavedView
from app.store.people.accounts import TOO_LARGE
from app.store.queries import create_unique, execute


def on_page(account: int, page: str) -> list[tuple[SavedView, str]]:
    """Return a user's views of a page and those that others share, with the names of their users."""
    return _with_users((SavedView.page == page) & ((SavedView.account == account) | SavedView.is_shared))


def of(account: int) -> list[tuple[SavedView, str]]:
    """Return a user's views of all pages, with the user's name."""
    return _with_users(SavedView.account == account)


def every() -> list[tuple[SavedView, str]]:
    """Return the views of all users, with the users' names."""
    return _with_users(SavedView.id.is_null(False))


def by_id(key: int) -> tuple[SavedView, str] | None:
    """Return the view with an id, and the name of its user."""
    return next(iter(_with_users(SavedView.id == key)), None) if key < TOO_LARGE else None


def count(account: int) -> int:
    """Return the number of a user's views."""
    return SavedView.select().where(SavedView.account == account).count()


def add(account: int, page: str, name: str, query: str, is_shared: bool, now: int) -> SavedView | None:  # noqa: FBT001
    """Create a view, or return None if the user has one with this name on the page."""
    values = {"account": account, "page": page, "name": name, "query": query, "is_shared": is_shared}
    return create_unique(SavedView, created_at=now, **values)


def remove(key: int) -> bool:
    """Remove a view, and return whether it existed."""
    return execute(SavedView.delete().where(SavedView.id == key)) == 1


def remove_of(account: int) -> None:
    """Remove all views of a user."""
    execute(SavedView.delete().where(SavedView.account == account))


def _with_users(condition: Expression) -> list[tuple[SavedView, str]]:
    query = SavedView.select(SavedView, Account.name).join(Account, on=(Account.id == SavedView.account), attr="owner")
    found = [(row, str(row.owner.name)) for row in query.where(condition)]
    return sorted(found, key=lambda pair: (pair[0].name.casefold(), pair[0].id))
