"""Second factors: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for a lost app.

The secret that the app and the service share is derived from SECRET_KEY and a random salt. Only the salt is stored, so
nobody can compute codes from the database alone. After a change of SECRET_KEY, only recovery codes are right.

A code is right during its 30 seconds, and for one step before and after, because clocks differ. Each is right once: a
user's last step is recorded, and no code up to it is accepted. A recovery code has 80 random bits, is shown once and
stored as its SHA-256; see `services.access.ingest_keys` for why no slow hash is needed.

Wrong codes are counted for each user, regardless of the address. Only somebody with the right password can try a code,
so strangers cannot lock a user out. A new password starts new counts. Open sessions are not affected.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from pyotp import TOTP

from app.config import Settings
from app.exceptions import AccountInvalid, CodeWrong, RateLimited
from app.redis.rate_limit import RateLimit
from app.services.people import audit
from app.services.people.accounts import principal
from app.services.people.principal import ADMIN, Principal
from app.store.database import transaction
from app.store.people import accounts, sessions
from app.store.people import second_factors as store
from app.store.people.sessions import EndReason
from app.support.clock import now

STEP_MS = 30_000
STEPS_AROUND = (0, -1, 1)  # accepted steps, relative to the current one
CODE = re.compile(r"[0-9]{6}")
SECRET_BYTES = 20  # as RFC 4226 recommends
RECOVERY_CODES = 10
RECOVERY_BYTES = 10  # 16 characters of base32
WRONG_CODES = 10  # for a user, in WRONG_MINUTES; one guess is right with a probability of 3 in a million
WRONG_MINUTES = 15


class SecondFactors:
    """Second factors of all users."""

    def __init__(self, settings: Settings, rate_limit: RateLimit) -> None:
        self._secret_key: Callable[[], str] = settings.secret
        self._host = urlsplit(settings.base_url).hostname or ""
        self._required = settings.totp_required
        self._rate_limit = rate_limit

    def must_set_up(self, who: Principal) -> bool:
        """Return whether TOTP_REQUIRED asks a user for a second factor that they do not have.

        The identity provider asks its users for one itself, if it should.
        """
        is_asked = self._required == "everyone" or (self._required == "admins" and who.role == ADMIN)
        return is_asked and not who.has_second_factor and not who.is_external

    def new_salt(self) -> str:
        """Return a salt for a second factor that is not turned on yet."""
        return secrets.token_urlsafe(16)

    def secret(self, salt: str) -> str:
        """Return the secret for an authenticator app. It is derived on each call; only the salt is stored."""
        digest = hmac.digest(self._secret_key().encode(), f"totp:{salt}".encode(), hashlib.sha256)
        return base64.b32encode(digest[:SECRET_BYTES]).decode()

    def uri(self, who: Principal, salt: str) -> str:
        """Return the secret as the URI that authenticator apps read from a QR code."""
        return TOTP(self.secret(salt)).provisioning_uri(name=f"{who.name}@{self._host}", issuer_name="Tally")

    def turn_on(self, who: Principal, salt: str, code: str) -> tuple[Principal, list[str]]:
        """Turn on a user's second factor and end their sessions. Return the user and the recovery codes.

        Raises:
            AccountInvalid: the user has a second factor.
            CodeWrong: the code is not one of the app, so the app does not have the secret.
        """
        step = self._step_of(salt, _plain(code))
        if step is None:
            raise CodeWrong("Wrong code. Enter the code that the app shows now.")
        codes, version = _new_codes(), secrets.token_hex(16)
        with transaction():
            if not store.turn_on(who.id, salt, step, version):
                raise AccountInvalid(f"{who.name} has a second factor already.")
            store.replace_codes(who.id, [_digest(code) for code in codes])
            sessions.end_of(who.id, EndReason.SECOND_FACTOR)
            audit.note(who, "second factor turned on", f"user {who.name}")
        return replace(who, password_version=version, has_second_factor=True), codes

    def remove(self, who: Principal, *, by: Principal) -> None:
        """Turn off a user's second factor, or reset that of another user. Raise AccountInvalid if there is none."""
        with transaction():
            if not store.turn_off(who.id):
                raise AccountInvalid(f"{who.name} has no second factor.")
            act = "second factor turned off" if by.id == who.id else "second factor reset"
            audit.note(by, act, f"user {who.name}")

    def replace_recovery_codes(self, who: Principal) -> list[str]:
        """Return new recovery codes for a user; the previous ones stop working."""
        codes = _new_codes()
        with transaction():
            store.replace_codes(who.id, [_digest(code) for code in codes])
            audit.note(who, "recovery codes replaced", f"user {who.name}")
        return codes

    def recovery_codes_left(self, who: Principal) -> int:
        """Return the number of a user's unused recovery codes."""
        return store.count_codes(who.id)

    def find(self, key: int, password_version: str) -> Principal | None:
        """Return a user who has a second factor and still the password of that version, or None."""
        account = accounts.by_id(key)
        if account is None or account.totp_salt is None or account.password_version != password_version:
            return None
        return principal(account)

    def verify(self, who: Principal, code: str, via: str) -> int | None:
        """Use up a code of a user's app, or a recovery code. Return how many recovery codes are left if it was one.

        Each attempt is counted before the code is looked at, so that concurrent attempts get no more of them. The right
        code clears the count.

        Args:
            via: a description of the form, for the audit log.

        Raises:
            CodeWrong: the code is wrong, expired or already used.
            RateLimited: there were too many wrong codes for the user.
        """
        attempts = ("second factor", f"{who.id} {who.password_version}", WRONG_CODES, WRONG_MINUTES)
        seconds = self._rate_limit.count(*attempts)
        if seconds is not None:
            self._note_once("sign-in throttled", who, via)
            waited = "1 second" if seconds == 1 else f"{seconds} seconds"
            raise RateLimited(f"Too many wrong codes were entered. Try again in {waited}.", seconds)
        is_recovery = not CODE.fullmatch(_plain(code))
        if not (self._use_recovery_code(who, code) if is_recovery else self._use_code(who, _plain(code))):
            self._note_once("sign-in failed", who, via)
            raise CodeWrong("The code is wrong, expired or already used. Enter the current one.")
        self._rate_limit.reset(*attempts)
        return store.count_codes(who.id) if is_recovery else None

    def _use_code(self, who: Principal, code: str) -> bool:
        account = accounts.by_id(who.id)
        if account is None or account.totp_salt is None:
            return False
        step = self._step_of(account.totp_salt, code)
        return step is not None and store.use_step(who.id, account.totp_salt, step)

    def _use_recovery_code(self, who: Principal, code: str) -> bool:
        with transaction():
            is_right = store.use_code(who.id, _digest(code))
            if is_right:
                audit.note(who, "recovery code used", f"user {who.name}", {"left": store.count_codes(who.id)})
        return is_right

    def _step_of(self, salt: str, code: str) -> int | None:
        """Return the accepted step that has a code, or None."""
        if not CODE.fullmatch(code):
            return None
        totp, current = TOTP(self.secret(salt)), now() // STEP_MS
        codes = {current + offset: totp.generate_otp(current + offset) for offset in STEPS_AROUND}
        return next((step for step, one in codes.items() if hmac.compare_digest(one, code)), None)

    def _note_once(self, act: str, who: Principal, via: str) -> None:
        """Record a failure at most once a minute; see `Login`."""
        if self._rate_limit.count(f"{act} second factor", str(who.id), 1) is None:
            audit.note(audit.nobody(who.address), act, f"user {who.name}", {"at": via})


def _new_codes() -> list[str]:
    """Return recovery codes in groups of four characters."""
    texts = [base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(text[start : start + 4] for start in range(0, len(text), 4)) for text in texts]


def _plain(code: str) -> str:
    """Return a code without the blanks and hyphens that people type, in lower case."""
    return re.sub(r"[\s-]", "", code).lower()


def _digest(code: str) -> str:
    return hashlib.sha256(_plain(code).encode(errors="surrogatepass")).hexdigest()
