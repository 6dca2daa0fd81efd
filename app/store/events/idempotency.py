"""Idempotency keys and the first response sent under each, so that a repeated request gets the same response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store import step_size
from app.store.database import database
from app.store.models import IdempotencyKey


@dataclass(frozen=True, eq=False)
class Claim:
    """Request's claim to an idempotency key.

    Attributes:
        digest: digest of the request body; a repeated request must have the same.
        answer: response to send if the claim succeeds, in the form in which the service stores it.
        created_at: current time in milliseconds.
    """

    key: str
    digest: bytes
    answer: bytes
    created_at: int


def claim(claims: Sequence[Claim]) -> set[Claim]:
    """Write claims inside a transaction, and return those that came first under their key. The others change nothing.

    Rows are always written in the same order, so that concurrent transactions with the same keys do not deadlock.
    """
    first: dict[str, Claim] = {}
    for claimed in claims:
        first.setdefault(claimed.key, claimed)
    ordered = [first[key] for key in sorted(first)]
    mark = ", ".join([f"({', '.join([database.param] * 4)})"] * len(ordered))
    values = [value for one in ordered for value in (one.key, one.digest, one.answer, one.created_at)]
    statement = f"INSERT INTO idempotency_key (key, digest, answer, created_at) VALUES {mark} "  # noqa: S608
    rows = database.execute_sql(f"{statement}ON CONFLICT DO NOTHING RETURNING key", values).fetchall()
    return {first[key] for (key,) in rows}


def find(key: str) -> tuple[bytes, bytes] | None:
    """Return the digest and the response stored under a key."""
    row = IdempotencyKey.get_or_none(IdempotencyKey.key == key)
    return (bytes(row.digest), bytes(row.answer)) if row else None


def purge(before: int) -> int:
    """Remove the keys created before a time, and return their number."""
    return step_size.purge(IdempotencyKey.key, IdempotencyKey.created_at < before)
