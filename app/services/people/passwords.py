"""Passwords: stored as argon2id hashes, and verified in the same time for known and unknown users."""

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
MAX_PASSWORD = 1_000  # characters; a longer password gives no stronger hash
REMEMBER_SECONDS = 60  # how long a verified password is accepted without hashing, which costs about 100 ms
MAX_REMEMBERED = 10_000


class Passwords:
    """Hashes and verifies passwords, and remembers for a minute which passwords this process has verified.

    A verified password is stored as an HMAC with a random key of this process, together with its argon2id hash. A
    changed password therefore applies at once.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._salt = secrets.token_bytes(32)
        self._right: dict[bytes, tuple[float, str]] = {}

    def hash(self, password: str) -> str:
        """Return the hash of a password, or raise AccountInvalid if it is too short or long, or has a NUL character."""
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            least = f"at least {MIN_PASSWORD}" if len(password) < MIN_PASSWORD else f"at most {MAX_PASSWORD}"
            raise AccountInvalid(f"The password has {len(password)} characters; it must have {least}.")
        if "\0" in password:
            raise AccountInvalid("The password has a NUL character, which no client can send.")
        return self._hasher.hash(password)

    def matches(self, name: str, password: str, stored: str | None) -> bool:
        """Return whether a password is a user's password, whose hash is `stored`.

        If there is no such user (None), a wrong password takes the same time.
        """
        if stored is not None and self.is_remembered(name, password, stored):
            return True
        if not self._verify(self._nobody if stored is None else stored, password) or stored is None:
            return False
        if len(self._right) > MAX_REMEMBERED:
            self._right = {}
        self._right[self._mark(name, password)] = (time.monotonic() + REMEMBER_SECONDS, stored)
        return True

    def is_remembered(self, name: str, password: str, stored: str | None) -> bool:
        """Return whether the password was verified within the last minute and is still the user's password."""
        until, known = self._right.get(self._mark(name, password), (0.0, ""))
        return until > time.monotonic() and known == stored

    def may_be_remembered(self, name: str, password: str) -> bool:
        """Return whether the password was verified before, so that `is_remembered` is worth calling."""
        return self._mark(name, password) in self._right

    @cached_property
    def _nobody(self) -> str:
        """Return a hash to verify the passwords of unknown users against.

        The hash is random. Computing a real one would double the time for the first unknown user and thereby reveal it.
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
