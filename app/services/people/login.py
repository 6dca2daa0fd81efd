"""Login: authenticates users by name and password, and limits the number of attempts.

After ten wrong passwords in a minute from an address for the same user, or fifty for any users, all further attempts
are rejected until the minute is over. They are rejected before hashing, which costs about 100 ms. Redis counts for all
processes together; while it is unavailable, each process counts separately. Attempts from other addresses are not
affected, so nobody can lock out a user from elsewhere.

A login with an unknown user is handled like a wrong password: same counts, same hash, same message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import BoundedSemaphore, Lock

from app.exceptions import RateLimited
from app.redis.rate_limit import RateLimit
from app.services.people import audit
from app.services.people.accounts import Accounts
from app.services.people.principal import Principal
from app.support.addresses import subscriber
from app.support.lookalikes import folded

PER_USER = 10  # wrong passwords a minute from an address for the same user
PER_ADDRESS = 50  # for any users, which stops an attacker who tries a password with many names
HASHES_AT_ONCE = 4  # per process; each hash takes 64 MiB
TURNS = 64  # locks, chosen by address and user, so that each attempt is counted before the next check
WAIT_SECONDS = 5.0  # for the lock, and for a hashing slot


class Login:
    """Login of people and programs."""

    def __init__(self, accounts: Accounts, rate_limit: RateLimit) -> None:
        self._accounts = accounts
        self._rate_limit = rate_limit
        self._hashing = BoundedSemaphore(HASHES_AT_ONCE)
        self._turns = [Lock() for _ in range(TURNS)]

    def authenticate(self, name: str, password: str, address: str, via: str, *, used: bool = False) -> Principal | None:
        """Return the user with that name and password, or None.

        Args:
            via: a description of the sign-in form, for the audit log.
            used: also accept a used one-time password, which a signed-in user may enter again.

        Raises:
            RateLimited: too many wrong passwords came from that address.
        """
        name = folded(name)  # spelling a name differently gives no additional attempts
        home, who = subscriber(address), hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        limits = [("password", f"{home} {who}", PER_USER), ("passwords", home, PER_ADDRESS)]
        self._check(limits, address)
        found = self._accounts.remembered(name, password)
        if found is None:
            with _held(self._turns[hash(limits[0]) % TURNS]), _held(self._hashing):
                self._check(limits, address)  # earlier attempts may have failed meanwhile
                found = self._accounts.verify(name, password, used=used)
                if found is None:  # count before the next attempt is checked
                    for limit in limits:
                        self._rate_limit.count(*limit)
        if found is not None:
            return replace(found, address=address)
        is_known = self._accounts.is_known(name)  # always query, so that timing reveals no user names
        # Record it once a minute, because a program may retry an old password forever.
        if self._rate_limit.count("refusal reported", limits[0][1], 1) is None:
            # Do not record unknown names, because people type their password into the wrong field.
            user = f"user {name}" if is_known else "an unknown user"
            audit.note(audit.nobody(address), "sign-in failed", user, {"at": via})
        return None

    def _check(self, limits: list[tuple[str, str, int]], address: str) -> None:
        for kind, who, most in limits:
            seconds = self._rate_limit.check(kind, who, most)
            if seconds is not None:
                # Record it at most once a minute, so that rejected attempts do not fill the audit log.
                if self._rate_limit.count(f"{kind} reported", who, 1) is None:
                    audit.note(audit.nobody(address), "sign-in throttled")
                waited = "1 second" if seconds == 1 else f"{seconds} seconds"
                raise RateLimited(f"Too many wrong passwords came from your address. Try again in {waited}.", seconds)


@contextmanager
def _held(one: Lock | BoundedSemaphore) -> Iterator[None]:
    """Acquire a lock or semaphore. Raise RateLimited if too many others wait."""
    if not one.acquire(timeout=WAIT_SECONDS):
        raise RateLimited("Too many passwords are checked at this moment. Try again in 5 seconds.", 5)
    try:
        yield
    finally:
        one.release()
