"""The door: names and passwords are taken here, and nowhere may they be tried without end.

After ten wrong passwords in a minute from one address for one user, or fifty from one address for any, nothing is
looked at any more until the minute is over, right or wrong: before a hash is made, which costs about 100 ms. Counted in
Redis for all processes together, in the process while Redis is away. Other addresses are not concerned, so nobody
can lock a user out from elsewhere.

Every answer to an unknown user takes the way of a wrong password: the same counts, the same hash, the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import BoundedSemaphore, Lock

from app.exceptions import RateLimited
from app.redis.rate_limit import RateLimit
from app.services.people.accounts import Accounts
from app.services.people.audit import Audit, nobody
from app.services.people.principal import Principal
from app.support.addresses import subscriber
from app.support.lookalikes import folded

PER_USER = 10  # wrong passwords a minute from one address for one user
PER_ADDRESS = 50  # for any users: it stops whoever tries one password with many names
HASHES_AT_ONCE = 4  # in one process: each takes 64 MiB
TURNS = 64  # those who come from one address for one user take turns, so that each is counted before the next one looks
WAIT_SECONDS = 5.0  # for one's turn, and for one of the hashes


class Login:
    """Lets people and programs in who have a user's name and password."""

    def __init__(self, accounts: Accounts, rates: RateLimit) -> None:
        self._accounts = accounts
        self._rates = rates
        self._audit = Audit()
        self._hashing = BoundedSemaphore(HASHES_AT_ONCE)
        self._turns = [Lock() for _ in range(TURNS)]

    def authenticate(self, name: str, password: str, address: str, via: str, *, used: bool = False) -> Principal | None:
        """Return the user with that name and password, or None.

        Args:
            address: the client's address.
            via: a description of the sign-in form, for the audit log.
            used: also accept a used one-time password, which a signed-in user may enter again.

        Raises:
            RateLimited: too many wrong passwords came from that address.
        """
        name = folded(name)  # spelling a name differently gives no additional attempts
        limits = self._limits(name, address)
        self._check(limits, address)
        found = self._accounts.remembered(name, password)
        if found is None:
            found = self._hashed(name, password, limits, address, used=used)
        if found is None:
            self._refused(name, limits, address, via)
            return None
        return replace(found, address=address)

    def _hashed(
        self, name: str, password: str, limits: list[tuple[str, str, int]], address: str, *, used: bool
    ) -> Principal | None:
        """Few at once; whoever waited is counted again, as those before may have been wrong all along."""
        with _held(self._turns[hash(limits[0]) % TURNS]), _held(self._hashing):
            self._check(limits, address)
            found = self._accounts.verify(name, password, used=used)
            if found is None:  # counted before the next one looks
                for limit in limits:
                    self._rates.count(*limit)
            return found

    def _limits(self, name: str, address: str) -> list[tuple[str, str, int]]:
        """The kind, the key and the most of each count that concerns somebody."""
        home = subscriber(address)
        who = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        return [("password", f"{home} {who}", PER_USER), ("passwords", home, PER_ADDRESS)]

    def _check(self, limits: list[tuple[str, str, int]], address: str) -> None:
        for kind, who, most in limits:
            seconds = self._rates.check(kind, who, most)
            if seconds is not None:
                self._tell_throttled(kind, who, address)
                waited = "1 second" if seconds == 1 else f"{seconds} seconds"
                raise RateLimited(f"Too many wrong passwords came from your address. Try again in {waited}.", seconds)

    def _refused(self, name: str, limits: list[tuple[str, str, int]], address: str, via: str) -> None:
        known = self._accounts.is_known(name)  # asked in any case: it takes time
        # Told once a minute, as a program may try its old password for ever.
        if self._rates.count("refusal told", limits[0][1], 1) is not None:
            return
        # What an unknown user is called is not kept: people type their password into the wrong field.
        self._audit.note(nobody(address), "sign-in failed", f"user {name}" if known else "an unknown user", {"at": via})

    def _tell_throttled(self, kind: str, who: str, address: str) -> None:
        """Once a minute: whoever is refused costs no entry each time."""
        if self._rates.count(f"{kind} told", who, 1) is None:
            self._audit.note(nobody(address), "sign-in throttled")


@contextmanager
def _held(one: Lock | BoundedSemaphore) -> Iterator[None]:
    """Wait for it, though not for ever.

    Raises:
        RateLimited: too many others wait.
    """
    if not one.acquire(timeout=WAIT_SECONDS):
        raise RateLimited("Too many passwords are checked at this moment. Try again in 5 seconds.", 5)
    try:
        yield
    finally:
        one.release()
