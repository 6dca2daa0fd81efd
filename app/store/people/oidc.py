"""Queries about users of an identity provider, their sessions, and values that may be used once."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import IntegrityError

from app.store import step_size
from app.store.database import database
from app.store.models import Account, OidcOnce, Session
from app.store.people.sessions import EndReason, end_where
from app.store.queries import create_unique


def by_subject(issuer: str, subject: str) -> Account | None:
    """Return the user with an id at a provider."""
    return Account.get_or_none(Account.oidc_issuer == issuer, Account.oidc_subject == subject)


def add(
    issuer: str, subject: str, name: str, role: str, customers: Sequence[str] | None, password_version: str, now: int
) -> Account | None:
    """Create a user without a password, or return None if the name is taken or the user exists."""
    values = {"name": name, "role": role, "customers": customers, "created_at": now}
    values |= {"password": "", "password_version": password_version, "oidc_issuer": issuer, "oidc_subject": subject}
    return create_unique(Account, **values)


def claim_once(digest: str, expires_at: int) -> bool:
    """Record that a value is used, or return False if it was used before."""
    try:
        with database.atomic():
            OidcOnce.create(digest=digest, expires_at=expires_at)
    except IntegrityError:
        return False
    return True


def end_sessions(issuer: str, subject: str | None, sid: str | None) -> list[tuple[int, str]]:
    """End the sessions of a user, of a provider's session, or of both if both are named.

    Return the id and the name of the user for each.
    """
    query = Session.select(Session, Account).join(Account, on=(Account.id == Session.account), attr="user")
    query = query.where(Account.oidc_issuer == issuer)
    if subject is not None:
        query = query.where(Account.oidc_subject == subject)
    if sid is not None:
        query = query.where(Session.oidc_sid == sid)
    found = list(query) if subject is not None or sid is not None else []
    end_where(Session.id.in_([session.id for session in found]), EndReason.BY_PROVIDER)
    return [(session.user.id, session.user.name) for session in found]


def purge(now: int) -> int:
    """Remove used values that are invalid by now, and return their number."""
    return step_size.purge(OidcOnce.digest, OidcOnce.expires_at < now)
