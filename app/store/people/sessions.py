"""Queries about sessions.

A session is valid only while its user is active and has its password version, which each new password changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from peewee import Expression

from app.store import step_size
from app.store.models import Account, Session
from app.store.people.accounts import TOO_LARGE
from app.store.queries import execute, fetch_column


@dataclass(frozen=True)
class Limits:
    """Limits of valid sessions.

    Attributes:
        seen_after: valid sessions were last used after this time.
        created_after: valid sessions began after this time.
    """

    seen_after: int
    created_after: int


def add(**values: object) -> Session:
    return Session.create(**values)


def find(digest: str, limits: Limits) -> tuple[Session, Account] | None:
    """Return the session with a digest and its user, if it is valid."""
    return next(iter(_valid(limits, Session.digest == digest)), None)


def by_id(key: int, limits: Limits) -> tuple[Session, Account] | None:
    """Return the session with an id and its user, if it is valid."""
    return next(iter(_valid(limits, Session.id == key)), None) if key < TOO_LARGE else None


def of(account: int, limits: Limits) -> list[Session]:
    """Return a user's valid sessions, most recently used first."""
    found = [session for session, _ in _valid(limits, Session.account == account)]
    return sorted(found, key=lambda session: (session.seen_at, session.id), reverse=True)


def every(limits: Limits) -> list[Session]:
    return [session for session, _ in _valid(limits)]


def note_seen(key: int, now: int) -> None:
    """Record when a session was last used."""
    execute(Session.update(seen_at=now).where(Session.id == key, Session.seen_at < now))


def remove(key: int) -> bool:
    return execute(Session.delete().where(Session.id == key)) == 1


def remove_of(account: int, *, but: int = 0) -> int:
    """End a user's sessions except the session `but`, and return their number."""
    return execute(Session.delete().where(Session.account == account, Session.id != but))


def remove_oldest(account: int, most: int) -> None:
    """End a user's sessions beyond a number, and keep the most recently used ones."""
    mine = Session.select(Session.id).where(Session.account == account)
    rest = fetch_column(mine.order_by(Session.seen_at.desc(), Session.id.desc()).offset(most).limit(1_000))
    if rest:
        execute(Session.delete().where(Session.id.in_(rest)))


def bring_back(now: int, latest: int) -> int:
    """Reset the start and last use of sessions to now if they are in the future, and return how many were reset."""
    columns = (Session.created_at, Session.seen_at)
    return sum(execute(Session.update({column: now}).where(column > latest)) for column in columns)


def purge(limits: Limits) -> int:
    """Remove expired sessions, and return their number."""
    over = (Session.seen_at <= limits.seen_after) | (Session.created_at <= limits.created_after)
    return step_size.purge(Session.id, over)


def _valid(limits: Limits, *conditions: Expression) -> list[tuple[Session, Account]]:
    mine = (Account.id == Session.account) & (Account.password_version == Session.password_version)
    mine &= Account.deactivated_at.is_null()
    query = Session.select(Session, Account).join(Account, on=mine, attr="user")
    query = query.where(Session.seen_at > limits.seen_after, Session.created_at > limits.created_after, *conditions)
    return [(session, session.user) for session in query]
