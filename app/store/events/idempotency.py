"""Idempotency keys: the first answer that was given under each, so that a repeat is answered the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store import purge as purging
from app.store.database import database
from app.store.models import IdempotencyKey


@dataclass(frozen=True, eq=False)
class Claim:
    """A request's claim to a key.

    Attributes:
        digest: of its body; a repeat must have the same.
        answer: what the request is answered if the claim succeeds, as the service keeps it.
        now: milliseconds.
    """

    key: str
    digest: bytes
    answer: bytes
    now: int


def claim(claims: Sequence[Claim]) -> set[Claim]:
    """Write claims inside a transaction; those that came first under their key. The others change nothing.

    In one order always, so that two transactions with the same keys wait for each other instead of for ever.
    """
    first: dict[str, Claim] = {}
    for one in claims:
        first.setdefault(one.key, one)
    ordered = [first[key] for key in sorted(first)]
    mark = ", ".join([f"({', '.join([database.param] * 4)})"] * len(ordered))
    values = [value for one in ordered for value in (one.key, one.digest, one.answer, one.now)]
    statement = f"INSERT INTO idempotency_key (key, digest, answer, created) VALUES {mark} "  # noqa: S608
    rows = database.execute_sql(f"{statement}ON CONFLICT DO NOTHING RETURNING key", values).fetchall()
    return {first[key] for (key,) in rows}


def find(key: str) -> tuple[bytes, bytes] | None:
    """The digest and the answer kept under a key."""
    row = IdempotencyKey.get_or_none(IdempotencyKey.key == key)
    return (bytes(row.digest), bytes(row.answer)) if row else None


def purge(before: int) -> int:
    """Forget keys older than a time; how many."""
    return purging.purge(IdempotencyKey, IdempotencyKey.created < before)
