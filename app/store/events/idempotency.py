"""Idempotency keys and the first response sent under each, so that a repeated request gets the same response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peewee import fn

from app.store import step_size
from app.store.database import database
from app.store.models import IdempotencyKey
from app.store.queries import execute, find_one


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
    row = find_one(IdempotencyKey, "key", key)
    return (bytes(row.digest), bytes(row.answer)) if row else None


def created_between(first: int, last: int, after: tuple[int, str], limit: int) -> list[tuple[int, str, bytes]]:
    """Return the creation times, keys and responses of the first keys of a period, both ends inclusive.

    The marks of spooled requests (see `spool_records`) have no response, and are left out.

    Args:
        after: creation time and key of the last one of the previous page.
    """
    mark = database.param
    query = (
        f"SELECT created_at, key, answer FROM idempotency_key WHERE created_at BETWEEN {mark} AND {mark} "  # noqa: S608
        f"AND (created_at, key) > ({mark}, {mark}) AND length(answer) > 0 ORDER BY created_at, key LIMIT {limit:d}"
    )
    found = database.execute_sql(query, (max(first, after[0]), last, *after)).fetchall()
    return [(created_at, key, bytes(answer)) for created_at, key, answer in found]


def oldest() -> int | None:
    """Return when the oldest key was created, or None if there is no key."""
    found: int | None = IdempotencyKey.select(fn.min(IdempotencyKey.created_at)).scalar()
    return found


def replace_answers(replaced: Mapping[str, bytes]) -> None:
    """Replace the responses under some keys that still exist."""
    with database.atomic():
        for key in sorted(replaced):
            execute(IdempotencyKey.update(answer=replaced[key]).where(IdempotencyKey.key == key))


def purge(before: int) -> int:
    """Remove the keys created before a time, and return their number."""
    return step_size.purge(IdempotencyKey.key, IdempotencyKey.created_at < before)
