"""Queries about sessions. One counts only while its word is its user's: a new password makes a new word."""

from __future__ import annotations

from dataclasses import dataclass

from peewee import ModelSelect

from app.store import purge as purging
from app.store.models import Account, Session
from app.store.people.accounts import TOO_LARGE


@dataclass(frozen=True)
class Limits:
    """Which sessions still count.

    Attributes:
        seen_after: those with a sign of life after this time.
        created_after: those that began after this time.
    """

    seen_after: int
    created_after: int


def add(**values: object) -> Session:
    """Begin one."""
    return Session.create(**values)


def find(digest: str, limits: Limits) -> tuple[Session, Account] | None:
    """The session with a digest and whose it is, if it still counts."""
    for session in _counting(limits).where(Session.digest == digest):
        return session, session.user
    return None


def by_id(key: int, limits: Limits) -> tuple[Session, Account] | None:
    """The session of that id and whose it is, if it still counts."""
    if key >= TOO_LARGE:
        return None
    for session in _counting(limits).where(Session.id == key):
        return session, session.user
    return None


def of(account: int, limits: Limits) -> list[Session]:
    """A user's sessions that count, the last seen first."""
    return list(_counting(limits).where(Session.account == account).order_by(Session.seen.desc(), Session.id.desc()))


def every(limits: Limits) -> list[Session]:
    """All sessions that count."""
    return list(_counting(limits))


def note_seen(key: int, now: int) -> None:
    """Note a sign of life."""
    Session.update(seen=now).where(Session.id == key, Session.seen < now).execute()


def remove(key: int) -> bool:
    """End one; whether there was one."""
    return Session.delete().where(Session.id == key).execute() == 1


def remove_of(account: int, *, but: int = 0) -> int:
    """End a user's sessions, one apart; how many."""
    return Session.delete().where(Session.account == account, Session.id != but).execute()


def remove_oldest(account: int, most: int) -> None:
    """End a user's sessions beyond a number, those seen last being kept."""
    mine = Session.select(Session.id).where(Session.account == account)
    rest = [key for (key,) in mine.order_by(Session.seen.desc(), Session.id.desc()).offset(most).limit(1_000).tuples()]
    if rest:
        Session.delete().where(Session.id.in_(rest)).execute()


def bring_back(now: int, latest: int) -> int:
    """Reset the start and last use of sessions to now if they are in the future, and return how many were reset."""
    number = 0
    for column in (Session.created, Session.seen):
        number += Session.update({column: now}).where(column > latest).execute()
    return number


def purge(limits: Limits) -> int:
    """Forget those that count no more; how many."""
    over = (Session.seen <= limits.seen_after) | (Session.created <= limits.created_after)
    return purging.purge(Session, over)


def _counting(limits: Limits) -> ModelSelect:
    mine = (Account.id == Session.account) & (Account.password_version == Session.password_version)
    query = Session.select(Session, Account).join(Account, on=mine, attr="user")
    return query.where(Session.seen > limits.seen_after, Session.created > limits.created_after)
