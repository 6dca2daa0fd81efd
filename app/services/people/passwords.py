"""Passwords: kept as argon2id hashes, and checked at the same price whoever is asked for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import b64encode
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.exceptions import AccountInvalid

MIN_PASSWORD = 8
MAX_PASSWORD = 1_000  # characters: a hash of more is no stronger
REMEMBER_SECONDS = 60  # how long a right password is taken again without hashing, which costs about 100 ms
MAX_REMEMBERED = 10_000


class Passwords:
    """Hashes and compares, and knows the passwords that this process found right in the last minute.

    A right one is remembered under an HMAC with a random key of this process, together with the hash that it was held
    against: so a changed password counts at once.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._salt = secrets.token_bytes(32)
        self._right: dict[bytes, tuple[float, str]] = {}

    def hash(self, password: str) -> str:
        """What is kept of a password.

        Raises:
            AccountInvalid: it will not do.
        """
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            least = f"at least {MIN_PASSWORD}" if len(password) < MIN_PASSWORD else f"at most {MAX_PASSWORD}"
            raise AccountInvalid(f"The password has {len(password)} characters; it must have {least}.")
        if "\0" in password:
            raise AccountInvalid("The password has a NUL character, which no client can send.")
        return self._hasher.hash(password)

    def matches(self, name: str, password: str, stored: str | None) -> bool:
        """Whether it is a user's password.

        Args:
            stored: what is kept of it; None: there is no such user, and that is answered as late as a wrong password.
        """
        if stored is not None and self.is_remembered(name, password, stored):
            return True
        if not self._verify(self._nobody if stored is None else stored, password) or stored is None:
            return False
        self._remember(name, password, stored)
        return True

    def is_remembered(self, name: str, password: str, stored: str | None) -> bool:
        """Whether it was found right within the last minute, and is still the user's."""
        until, known = self._right.get(self._mark(name, password), (0.0, ""))
        return until > time.monotonic() and known == stored

    def may_be_remembered(self, name: str, password: str) -> bool:
        """Whether it is worth looking what is kept."""
        return self._mark(name, password) in self._right

    @cached_property
    def _nobody(self) -> str:
        """What an unknown user's password is held against.

        Made up, not hashed: hashing it would tell the first unknown user by twice the time.
        """
        cost = f"m={self._hasher.memory_cost},t={self._hasher.time_cost},p={self._hasher.parallelism}"
        salt, hashed = (
            b64encode(secrets.token_bytes(length)).decode().rstrip("=")
            for length in (self._hasher.salt_len, self._hasher.hash_len)
        )
        return f"$argon2id$v=19${cost}${salt}${hashed}"

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _mark(self, name: str, password: str) -> bytes:
        return hmac.digest(self._salt, f"{len(name)}:{name}{password}".encode(), hashlib.sha256)

    def _remember(self, name: str, password: str, stored: str) -> None:
        if len(self._right) > MAX_REMEMBERED:
            self._right = {}
        self._right[self._mark(name, password)] = (time.monotonic() + REMEMBER_SECONDS, stored)
