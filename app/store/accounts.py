"""Queries about users."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import IntegrityError

from app.store.database import database
from app.store.models import Account


def by_name(name: str) -> Account | None:
    """The user of that name."""
    return Account.get_or_none(Account.name == name)


def by_id(key: int) -> Account | None:
    """The user of that id."""
    return Account.get_or_none(Account.id == key)


def everyone() -> list[Account]:
    """All users, by name. Sorted here, as databases differ in what comes first."""
    return sorted(Account.select(), key=lambda one: one.name)


def exists() -> bool:
    """Whether there is any user yet."""
    return Account.select().exists()


def add(name: str, role: str, customers: Sequence[str] | None, password: str, session: str, now: int) -> Account | None:
    """Make a user, or None where the name is taken; `password` is a hash."""
    values = {"name": name, "role": role, "customers": customers, "password": password, "session": session}
    try:
        with database.atomic():
            return Account.create(created=now, **values)
    except IntegrityError:
        return None


def set_password(name: str, password: str, session: str) -> bool:
    """Give a user another password (a hash), which ends their sessions; whether there is such a user."""
    query = Account.update(password=password, session=session).where(Account.name == name)
    return query.execute() == 1


def remove(name: str) -> bool:
    """Remove a user; whether there was one."""
    return Account.delete().where(Account.name == name).execute() == 1
