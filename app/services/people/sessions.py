"""Sessions of signed-in users: which browser, and until when.

A browser's cookie contains 256 random bits, and the database their SHA-256. The server can therefore end a session
regardless of the browser. A session ends at sign-out, with a new password, when a user ends it, or when the identity
provider ends its own session. It also expires after SESSION_IDLE_MINUTES without user activity, not counting pages that
refresh themselves, and SESSION_DAYS after sign-in.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace

import structlog

from app.config import Settings
from app.exceptions import SessionUnknown, StoreUnavailable
from app.services.people import audit
from app.services.people.accounts import principal
from app.services.people.principal import Principal
from app.store.database import server_time, transaction
from app.store.models import Session
from app.store.people import accounts
from app.store.people import sessions as store
from app.store.people.sessions import EndReason
from app.support.clock import DAY_MS, MINUTE_MS, SKEW_MS, now

SECRET_BYTES = 32
NOTED_MS = 60_000  # precision of the last use
MAX_SESSIONS = 50  # per user, so that a program that signs in for each request does not fill the table
MAX_AGENT = 300
# What a browser shows after its session has ended.
REASONS = {
    EndReason.SIGNED_OUT: "You signed out.",
    EndReason.BY_USER: "You ended this session from another browser.",
    EndReason.BY_ADMIN: "An administrator ended your session.",
    EndReason.BY_PROVIDER: "The identity provider ended your session.",
    EndReason.PASSWORD_CHANGED: "Your password was changed, which ended this session.",
    EndReason.PASSWORD_RESET: "An administrator reset your password, which ended this session.",
    EndReason.SECOND_FACTOR: "Your second factor was turned on in another browser, which ended this session.",
    EndReason.DEACTIVATED: "An administrator deactivated your account.",
    EndReason.REMOVED: "An administrator removed your account.",
    EndReason.NO_ROLE: "None of your groups at the identity provider has a role here anymore.",
    EndReason.TOO_MANY: f"You had more than {MAX_SESSIONS} sessions, so the oldest one was ended.",
    EndReason.EXPIRED: "Your session has expired.",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CurrentSession:
    """Session of a request, with its user."""

    id: int
    principal: Principal
    id_token: str | None = None  # of the identity provider


@dataclass(frozen=True)
class ProviderSession:
    """Session at the identity provider, in which a session here began: its id, if it has one, and the ID token."""

    sid: str | None
    id_token: str


class Sessions:
    """Sessions of all processes."""

    def __init__(self, settings: Settings) -> None:
        self._idle_ms = settings.session_idle_minutes * MINUTE_MS
        self._most_ms = settings.session_days * DAY_MS

    def begin(self, who: Principal, agent: str, provider: ProviderSession | None = None) -> str | None:
        """Begin a session for an authenticated user, and return the token for their browser.

        If the password is changed in the meantime, this session ends, too, because it belongs to the old password.
        Return None if a one-time password was used by another sign-in first. `agent` is the browser's User-Agent.
        """
        token, moment = secrets.token_urlsafe(SECRET_BYTES), now()
        with transaction():
            if who.temporary and not accounts.use_up_password(who.id, who.password_version):
                return None
            store.add(
                digest=_digest(token),
                account=who.id,
                password_version=who.password_version,
                created_at=moment,
                seen_at=moment,
                address=who.address,
                agent=agent[:MAX_AGENT],
                oidc_sid=provider.sid if provider else None,
                id_token=provider.id_token if provider else None,
            )
            store.end_oldest(who.id, MAX_SESSIONS)
            audit.note(who, "signed in", details={"at": "the identity provider"} if provider else None)
        return token

    def find(self, token: str, address: str, *, acts: bool = True) -> CurrentSession | None:
        """Return the session of a token, or None if it has ended.

        An access that is no user activity (`acts`), such as that of a page that refreshes itself, does not prolong it.
        """
        found = store.find(_digest(token), self._limits(now()))
        if found is None:
            return None
        session, account = found
        if acts and now() - session.seen_at >= NOTED_MS:
            try:
                store.note_seen(session.id, now())
            except StoreUnavailable as error:  # the next request will record it
                log.warning("last act of a session not noted", reason=str(error))
        return CurrentSession(session.id, replace(principal(account), address=address), session.id_token)

    def why_ended(self, token: str) -> str:
        """Return a sentence about why the session of a token has ended."""
        reason = store.end_reason(_digest(token), self._limits(now()))
        return REASONS[reason] if reason else "Your session has ended."

    def of(self, account: int) -> list[Session]:
        """Return a user's sessions, the most recently used first."""
        return store.of(account, self._limits(now()))

    def numbers(self) -> dict[int, list[Session]]:
        """Return the sessions by user id, for users with sessions."""
        found: dict[int, list[Session]] = {}
        for session in store.every(self._limits(now())):
            found.setdefault(session.account, []).append(session)
        return found

    def sign_out(self, visit: CurrentSession) -> None:
        """End the current session."""
        with transaction():
            if store.end(visit.id, EndReason.SIGNED_OUT):
                audit.note(visit.principal, "signed out")

    def end(self, key: int, account: int, *, by: Principal) -> None:
        """End a user's session. Raise SessionUnknown if the user has no session with this id."""
        found = store.by_id(key, self._limits(now()))
        if found is None or found[0].account != account:
            raise SessionUnknown("There is no such session: it has ended.")
        session, owner = found
        with transaction():
            if store.end(session.id, _reason(account, by)):
                audit.note(by, "session ended", f"user {owner.name}", {"signed in from": session.address})

    def end_all(self, who: Principal, *, by: Principal, but: int = 0) -> int:
        """End a user's sessions except the session with the id `but`, and return their number."""
        with transaction():
            number = store.end_of(who.id, _reason(who.id, by), but=but)
            if number:
                audit.note(by, "session ended", f"user {who.name}", {"sessions": number})
        return number

    def purge(self) -> None:
        """Remove expired sessions.

        A session that began by a fast clock would last longer than SESSION_DAYS, so its start is set to now.
        """
        moment = server_time()
        store.bring_back(moment, moment + SKEW_MS)
        store.purge(self._limits(moment))

    def _limits(self, moment: int) -> store.Limits:
        return store.Limits(moment - self._idle_ms, moment - self._most_ms)


def _reason(account: int, by: Principal) -> EndReason:
    return EndReason.BY_USER if by.id == account else EndReason.BY_ADMIN


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
