"""Users: who there is, what each may do, and whether a password is right."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.exceptions import AccountInvalid
from app.schemas.fields import CONTROL
from app.services.audit import Audit
from app.services.clock import now
from app.services.principal import ANALYST, ROLES, SYSTEM, Principal
from app.store import accounts as store
from app.store.database import transaction
from app.store.models import Account

MIN_PASSWORD = 8
REMEMBER_SECONDS = 60  # how long a right password is taken again without hashing, which costs about 100 ms


class Accounts:
    """Users of one process, with the passwords found right in the last minute."""

    def __init__(self) -> None:
        self._audit = Audit()
        self._hasher = PasswordHasher()
        self._salt = secrets.token_bytes(32)
        self._right: dict[bytes, tuple[float, str]] = {}

    def verify(self, name: str, password: str) -> Principal | None:
        """Whoever has that name and password, or None.

        A right password is remembered for a minute, keyed by an HMAC with a random key of this process, together with
        the stored hash: so a changed password or a removed user counts at once.
        """
        account = store.by_name(name) if _storable(name) else None
        stored = account.password if account else self._nobody
        if self._remembered(name, password, stored):
            return principal(account)
        if not self._matches(stored, password) or account is None:
            return None
        self._remember(name, password, stored)
        return principal(account)

    @cached_property
    def _nobody(self) -> str:
        """A hash that an unknown user's password is held against, so that it costs as much time as a known one's."""
        return self._hasher.hash(secrets.token_hex())

    def by_session(self, key: int, session: str) -> Principal | None:
        """Whoever a session belongs to, or None where it ended."""
        account = store.by_id(key)
        if account is None or not hmac.compare_digest(account.session, session):
            return None
        return principal(account)

    def add(
        self, name: str, role: str, customers: Sequence[str] | None, password: str, *, by: Principal = SYSTEM
    ) -> Principal:
        """Make a user.

        Args:
            customers: the customers they are limited to; None: an analyst sees none, the others all.
            by: whoever makes them.

        Raises:
            AccountInvalid: the name, role or password will not do, or there is such a user.
        """
        _check_name(name)
        if role not in ROLES:
            raise AccountInvalid(f"The role {role!r} is not one of {', '.join(ROLES)}.")
        limited = list(customers) if customers else ([] if role == ANALYST else None)
        hashed = self._hash(password)
        with transaction():
            made = store.add(name, role, limited, hashed, secrets.token_hex(16), now())
            if made is None:
                raise AccountInvalid(f"There is a user {name} already.")
            self._audit.note(by, "user added", f"user {name}", {"role": role, "customers": limited})
        return principal(made)

    def set_password(self, name: str, password: str, *, by: Principal = SYSTEM) -> None:
        """Give a user another password; their sessions end.

        Raises:
            AccountInvalid: the password will not do, or there is no such user.
        """
        hashed = self._hash(password)
        with transaction():
            if not store.set_password(name, hashed, secrets.token_hex(16)):
                raise AccountInvalid(f"There is no user {name}.")
            self._audit.note(by, "password changed" if by.name == name else "password reset", f"user {name}")

    def remove(self, name: str, *, by: Principal = SYSTEM) -> None:
        """Remove a user; their sessions end, their reports stay.

        Raises:
            AccountInvalid: there is no such user.
        """
        with transaction():
            if not store.remove(name):
                raise AccountInvalid(f"There is no user {name}.")
            self._audit.note(by, "user removed", f"user {name}")

    def everyone(self) -> list[Principal]:
        """All users, by name."""
        return [principal(account) for account in store.everyone()]

    def any(self) -> bool:
        """Whether there is any user yet."""
        return store.exists()

    def _hash(self, password: str) -> str:
        if len(password) < MIN_PASSWORD:
            raise AccountInvalid(f"The password has {len(password)} characters; it must have at least {MIN_PASSWORD}.")
        if "\0" in password:
            raise AccountInvalid("The password has a NUL character, which no client can send.")
        return self._hasher.hash(password)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _mark(self, name: str, password: str) -> bytes:
        return hmac.digest(self._salt, f"{len(name)}:{name}{password}".encode(), hashlib.sha256)

    def _remembered(self, name: str, password: str, stored: str) -> bool:
        until, known = self._right.get(self._mark(name, password), (0.0, ""))
        return until > time.monotonic() and known == stored

    def _remember(self, name: str, password: str, stored: str) -> None:
        if len(self._right) > 10_000:
            self._right = {}
        self._right[self._mark(name, password)] = (time.monotonic() + REMEMBER_SECONDS, stored)


def principal(account: Account) -> Principal:
    """Who a row of the table of users stands for."""
    customers = None if account.customers is None else tuple(account.customers)
    return Principal(account.id, account.name, account.role, customers, account.session)


def _storable(name: str) -> bool:
    return 1 <= len(name) <= 128 and not CONTROL.search(name)


def _check_name(name: str) -> None:
    if not _storable(name) or ":" in name:
        raise AccountInvalid("A user's name has 1 to 128 characters, no colon and no control characters.")
