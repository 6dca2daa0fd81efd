"""Queries about ingest keys."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.models import IngestKey
from app.store.queries import create_unique, execute, find_one


def find(digest: str) -> IngestKey | None:
    """Return the key with a digest, active or revoked."""
    return find_one(IngestKey, "digest", digest)


def by_name(name: str) -> IngestKey | None:
    """Return the active key with a name, if any."""
    return IngestKey.get_or_none((IngestKey.name == name) & IngestKey.revoked_at.is_null())


def by_id(key: int) -> IngestKey | None:
    return find_one(IngestKey, "id", key)


def every() -> list[IngestKey]:
    """Return all keys: active keys by name, then revoked keys, most recently revoked first."""
    return sorted(IngestKey.select(), key=lambda key: (key.revoked_at is not None, -(key.revoked_at or 0), key.name))


def add(
    name: str, digest: str, hint: str, customers: Sequence[str] | None, products: Sequence[str] | None, now: int
) -> IngestKey | None:
    """Create a key, or return None if an active key already has the name."""
    values = {"name": name, "digest": digest, "hint": hint, "customers": customers, "products": products}
    return create_unique(IngestKey, created_at=now, **values)


def revoke(key: int, now: int) -> bool:
    """Revoke a key, and return whether it was active."""
    query = IngestKey.update(revoked_at=now).where((IngestKey.id == key) & IngestKey.revoked_at.is_null())
    return execute(query) == 1


def note_use(key: int, now: int) -> None:
    """Record that a key was used, without overwriting a later time that another process recorded."""
    earlier = IngestKey.used_at.is_null() | (IngestKey.used_at < now)
    execute(IngestKey.update(used_at=now).where((IngestKey.id == key) & earlier))
