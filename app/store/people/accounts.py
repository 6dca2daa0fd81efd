"""Queries about users."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Expression

from app.store.models import Account
from app.store.queries import create_unique, execute, fetch, find_one

USED_UP = 0  # replaces the expiry of a one-time password once it was used
TOO_LARGE = 2**63  # for an id, because the drivers reject it


def by_name(name: str) -> Account | None:
    return find_one(Account, "name", name)


def by_id(key: int) -> Account | None:
    return find_one(Account, "id", key) if key < TOO_LARGE else None


def everyone() -> list[Account]:
    """Return all users by name, sorted here because databases differ in their collation."""
    return sorted(Account.select(), key=lambda account: account.name)


def exists() -> bool:
    return Account.select().exists()


def lock_admins() -> dict[int, list[str] | None]:
    """Return the customers of each active local admin by id (None means all), and lock them until the transaction ends.

    An identity provider decides on its own who its admins are, so they do not count. The update changes nothing but
    locks the rows, so that a concurrent caller waits and then sees the result.
    """
    execute(Account.update(role="admin").where(_active_local_admin()))
    return dict(fetch(Account.select(Account.id, Account.customers).where(_active_local_admin())))


def oldest_admin() -> int | None:
    """Return the id of the first of the active local admins who see all customers."""
    query = Account.select(Account.id, Account.customers).where(_active_local_admin())
    admins = fetch(query.order_by(Account.id))
    return next((key for key, customers in admins if customers is None), None)


def add(
    name: str,
    role: str,
    customers: Sequence[str] | None,
    password: str,
    password_expires_at: int | None,
    password_version: str,
    now: int,
) -> Account | None:
    """Create a user, or return None if the name is taken. `password` is a hash."""
    values = {"name": name, "role": role, "customers": customers, "created_at": now}
    values |= {"password": password, "password_expires_at": password_expires_at, "password_version": password_version}
    return create_unique(Account, **values)


def change(key: int, role: str, customers: Sequence[str] | None) -> bool:
    """Change a user's role and customers, and return whether the user exists."""
    return execute(Account.update(role=role, customers=customers).where(Account.id == key)) == 1


def set_password(key: int, password: str, password_expires_at: int | None, password_version: str) -> bool:
    """Set a user's password (a hash), which ends their sessions, and return whether the user exists."""
    values = {"password": password, "password_expires_at": password_expires_at, "password_version": password_version}
    return execute(Account.update(**values).where(Account.id == key)) == 1


def set_mail(key: int, mail: str | None) -> None:
    execute(Account.update(mail=mail).where(Account.id == key))


def use_up_password(key: int, password_version: str) -> bool:
    """Expire a one-time password, or return False if another sign-in used it first or it was changed."""
    unused = (Account.password_version == password_version) & (Account.password_expires_at > USED_UP)
    return execute(Account.update(password_expires_at=USED_UP).where(Account.id == key, unused)) == 1


def end_access(key: int, deactivated_at: int | None, password_version: str) -> None:
    """End a user's sessions, and deactivate them if `deactivated_at` is set."""
    execute(Account.update(deactivated_at=deactivated_at, password_version=password_version).where(Account.id == key))


def activate(key: int) -> None:
    execute(Account.update(deactivated_at=None).where(Account.id == key))


def remove(key: int) -> bool:
    return execute(Account.delete().where(Account.id == key)) == 1


def _active_local_admin() -> Expression:
    return (Account.role == "admin") & Account.oidc_issuer.is_null() & Account.deactivated_at.is_null()
