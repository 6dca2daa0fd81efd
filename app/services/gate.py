"""Who may send events, and how often: what is asked before a byte of a request's body is read."""

from __future__ import annotations

import time

from app.config import KEY_NEEDED, Settings
from app.exceptions import RateLimited, StoreUnavailable, Unauthenticated
from app.rates import Rates
from app.services.addresses import subscriber
from app.services.keys import KEPT_SECONDS, IngestKey, Keys


class Gate:
    """The gate before `POST /events`.

    Attributes:
        needs_key: whether keys are asked for; one that is sent counts either way.
        is_limited: whether requests are counted.
        stands_open: whether there is nothing to ask of a request that sends no key.
    """

    def __init__(self, settings: Settings, keys: Keys, rates: Rates) -> None:
        self._keys = keys
        self._rates = rates
        self.needs_key = settings.ingest_auth == KEY_NEEDED
        self._per_address = settings.rate_limit_address
        self._per_key = settings.rate_limit_key if self.needs_key else 0
        self.is_limited = bool(self._per_address or self._per_key)
        self._blind_until = 0.0  # no key can be looked up before
        self.stands_open = not (self.needs_key or self.is_limited)

    def admit(self, address: str, token: str | None) -> IngestKey | None:
        """Let a request in, or raise; return the key that it came with, if it is one.

        Args:
            address: of the client; behind a proxy that is not trusted (TRUSTED_PROXIES), the proxy's for everybody.
            token: what was sent as a key, if anything was.

        Raises:
            RateLimited: more requests of this address or key than may come in a minute.
            Unauthenticated: a key is asked for, and this is none; or it is revoked, whether one is asked for or not.
            StoreUnavailable: a key is asked for, and whether it is one cannot be told now.
        """
        if self._per_address:
            self._limit("address", subscriber(address), self._per_address)
        if not self.needs_key:
            return self._offered(token) if token else None
        key = self._keys.verify(token) if token else None
        if key is None:
            raise Unauthenticated("No ingest key was sent, or one that is not in use.")
        if self._per_key:
            self._limit("key", str(key.id), self._per_key)
        return key

    def _offered(self, token: str) -> IngestKey | None:
        """The key that a request sends unasked; None where it is no key of ours, as clients send other credentials too.

        Raises:
            Unauthenticated: it is revoked.
        """
        if time.monotonic() < self._blind_until:
            return None
        try:
            key = self._keys.find(token)
        except StoreUnavailable:  # the events go on without it: they may be spooled
            self._blind_until = time.monotonic() + KEPT_SECONDS
            return None
        if key and key.revoked is not None:
            raise Unauthenticated("The ingest key that was sent is revoked.")
        return key

    def _limit(self, kind: str, who: str, most: int) -> None:
        seconds = self._rates.count(kind, who, most)
        if seconds is not None:
            requests = "1 request" if most == 1 else f"{most:,} requests"
            waited = "1 second" if seconds == 1 else f"{seconds} seconds"
            raise RateLimited(
                f"At most {requests} a minute may come from one {kind}. Nothing was stored; try again in {waited}.",
                seconds,
            )
