"""Queries about API tokens."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Expression

from app.store import step_size
from app.store.models import Account, ApiToken
from app.store.people.accounts import TOO_LARGE
from app.store.queries import create_unique, execute, find_one


def find(digest: str, now: int) -> tuple[ApiToken, Account] | None:
    """Return the valid token with a digest, and its active user."""
    token = find_one(ApiToken, "digest", digest)
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return None
    account = find_one(Account, "id", token.account)
    return None if account is None or account.deactivated_at is not None else (token, account)


def by_id(key: int) -> tuple[ApiToken, Account] | None:
    """Return the token with an id, active or not, and its user."""
    return next(iter(_with_users(ApiToken.id == key)), None) if key < TOO_LARGE else None


def every(account: int | None) -> list[tuple[ApiToken, Account]]:
    """Return the tokens of a user, or of all: active ones first, then by user and name."""
    found = _with_users(*([] if account is None else [ApiToken.account == account]))
    return sorted(found, key=lambda pair: (pair[0].revoked_at is not None, pair[1].name, pair[0].name, pair[0].id))


def add(
    account: int,
    name: str,
    digest: str,
    hint: str,
    scopes: Sequence[str],
    customers: Sequence[str] | None,
    now: int,
    expires_at: int,
) -> ApiToken | None:
    """Create a token, or return None if an active token of the user already has the name."""
    values = {"account": account, "name": name, "digest": digest, "hint": hint, "scopes": scopes}
    return create_unique(ApiToken, created_at=now, expires_at=expires_at, customers=customers, **values)


def revoke(key: int, now: int) -> bool:
    """Revoke a token, and return whether it was active."""
    active = (ApiToken.id == key) & ApiToken.revoked_at.is_null()
    return execute(ApiToken.update(revoked_at=now).where(active)) == 1


def note_use(key: int, now: int) -> None:
    """Record that a token was used, without overwriting a later time that another process recorded."""
    earlier = ApiToken.used_at.is_null() | (ApiToken.used_at < now)
    execute(ApiToken.update(used_at=now).where((ApiToken.id == key) & earlier))


def remove_of(account: int) -> int:
    """Remove a user's tokens, and return their number."""
    return execute(ApiToken.delete().where(ApiToken.account == account))


def purge(before: int) -> int:
    """Remove tokens that expired or were revoked before a time, and return their number."""
    return step_size.purge(ApiToken.id, (ApiToken.expires_at < before) | (ApiToken.revoked_at < before))


def _with_users(*conditions: Expression) -> list[tuple[ApiToken, Account]]:
    query = ApiToken.select(ApiToken, Account).join(Account, on=(Account.id == ApiToken.account), attr="user")
    return [(token, token.user) for token in (query.where(*conditions) if conditions else query)]
