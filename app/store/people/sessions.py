"""Queries about sessions.

A session is valid only while its user is active and has its password version, which each new password changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from peewee import Expression, Value

from app.store import step_size
from app.store.database import transaction
from app.store.models import Account, EndedSession, Session
from app.store.people.accounts import TOO_LARGE
from app.store.queries import execute, fetch_column, find_one
from app.support.clock import now


class EndReason(StrEnum):
    """Why a session has ended."""

    SIGNED_OUT = "signed out"
    BY_USER = "ended by the user"
    BY_ADMIN = "ended by an admin"
    BY_PROVIDER = "ended by the identity provider"
    PASSWORD_CHANGED = "password changed"  # noqa: S105 - no password
    PASSWORD_RESET = "password reset"  # noqa: S105 - no password
    SECOND_FACTOR = "second factor turned on"
    DEACTIVATED = "user deactivated"
    REMOVED = "user removed"
    NO_ROLE = "no role at the identity provider"
    TOO_MANY = "too many sessions"
    EXPIRED = "expired"


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
    return _with_user(find_one(Session, "digest", digest), limits)


def by_id(key: int, limits: Limits) -> tuple[Session, Account] | None:
    """Return the session with an id and its user, if it is valid."""
    return _with_user(find_one(Session, "id", key), limits) if key < TOO_LARGE else None


def of(account: int, limits: Limits) -> list[Session]:
    """Return a user's valid sessions, most recently used first."""
    found = [session for session, _ in _valid(limits, Session.account == account)]
    return sorted(found, key=lambda session: (session.seen_at, session.id), reverse=True)


def every(limits: Limits) -> list[Session]:
    return [session for session, _ in _valid(limits)]


def note_seen(key: int, now: int) -> None:
    """Record when a session was last used."""
    execute(Session.update(seen_at=now).where(Session.id == key, Session.seen_at < now))


def end(key: int, reason: EndReason) -> bool:
    return end_where(Session.id == key, reason) == 1


def end_of(account: int, reason: EndReason, *, but: int = 0) -> int:
    """End a user's sessions except the session `but`, and return their number."""
    return end_where((Session.account == account) & (Session.id != but), reason)


def end_oldest(account: int, most: int) -> None:
    """End a user's sessions beyond a number, and keep the most recently used ones."""
    mine = Session.select(Session.id).where(Session.account == account)
    rest = fetch_column(mine.order_by(Session.seen_at.desc(), Session.id.desc()).offset(most).limit(1_000))
    if rest:
        end_where(Session.id.in_(rest), EndReason.TOO_MANY)


def end_where(condition: Expression, reason: EndReason) -> int:
    """End the sessions that match a condition, record why, and return their number."""
    with transaction():
        _note_ended(condition, reason)
        return execute(Session.delete().where(condition))


def end_reason(digest: str, limits: Limits) -> EndReason | None:
    """Return why the session with a digest has ended, or None if that is not known."""
    if Session.select().where(Session.digest == digest, _is_over(limits)).exists():
        return EndReason.EXPIRED  # and not purged yet
    found = find_one(EndedSession, "digest", digest)
    return EndReason(found.reason) if found and found.reason in set(EndReason) else None


def bring_back(now: int, latest: int) -> int:
    """Reset the start and last use of sessions to now if they are in the future, and return how many were reset."""
    columns = (Session.created_at, Session.seen_at)
    return sum(execute(Session.update({column: now}).where(column > latest)) for column in columns)


def purge(limits: Limits) -> int:
    """End expired sessions, and return their number. Forget those that ended before valid ones began."""
    step_size.purge(EndedSession.digest, EndedSession.ended_at <= limits.created_after)
    _note_ended(_is_over(limits), EndReason.EXPIRED)
    return step_size.purge(Session.id, _is_over(limits))


def _is_over(limits: Limits) -> Expression:
    return (Session.seen_at <= limits.seen_after) | (Session.created_at <= limits.created_after)


def _note_ended(condition: Expression, reason: EndReason) -> None:
    ended = Session.select(Session.digest, Value(reason.value), Value(now())).where(condition)
    columns = [EndedSession.digest, EndedSession.reason, EndedSession.ended_at]
    execute(EndedSession.insert_from(ended, columns).on_conflict_ignore())


def _with_user(session: Session | None, limits: Limits) -> tuple[Session, Account] | None:
    account = session and find_one(Account, "id", session.account)
    return (session, account) if session and account and _is_valid(session, account, limits) else None


def _valid(limits: Limits, *conditions: Expression) -> list[tuple[Session, Account]]:
    query = Session.select(Session, Account).join(Account, on=Account.id == Session.account, attr="user")
    found = [(session, session.user) for session in query.where(True, *conditions)]
    return [(session, account) for session, account in found if _is_valid(session, account, limits)]


def _is_valid(session: Session, account: Account, limits: Limits) -> bool:
    is_same = session.password_version == account.password_version and account.deactivated_at is None
    return is_same and session.seen_at > limits.seen_after and session.created_at > limits.created_after
