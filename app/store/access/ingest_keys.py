"""Queries about ingest keys."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import IntegrityError

from app.store.database import database
from app.store.models import IngestKey


def find(digest: str) -> IngestKey | None:
    """Return the key with a digest, active or revoked."""
    return IngestKey.get_or_none(IngestKey.digest == digest)


def by_name(name: str) -> IngestKey | None:
    """The key of that name, if it is in use."""
    return IngestKey.get_or_none((IngestKey.name == name) & IngestKey.revoked.is_null())


def by_id(key: int) -> IngestKey | None:
    """The key of that id, in use or not."""
    return IngestKey.get_or_none(IngestKey.id == key)


def every() -> list[IngestKey]:
    """All keys: those in use by name, then the revoked ones, the last revoked first."""
    return sorted(IngestKey.select(), key=lambda key: (key.revoked is not None, -(key.revoked or 0), key.name))


def add(
    name: str, digest: str, hint: str, customers: Sequence[str] | None, products: Sequence[str] | None, now: int
) -> IngestKey | None:
    """Make a key; None where one of that name is in use."""
    values = {"name": name, "digest": digest, "hint": hint, "customers": customers, "products": products}
    try:
        with database.atomic():
            return IngestKey.create(created=now, **values)
    except IntegrityError:
        return None


def revoke(key: int, now: int) -> bool:
    """Refuse a key from now on; whether it was in use."""
    query = IngestKey.update(revoked=now).where((IngestKey.id == key) & IngestKey.revoked.is_null())
    return query.execute() == 1


def note_use(key: int, now: int) -> None:
    """Note that a key was used; a later note of another process stays."""
    earlier = IngestKey.used.is_null() | (IngestKey.used < now)
    IngestKey.update(used=now).where((IngestKey.id == key) & earlier).execute()
