"""Admission: checks who may send events and how often, before the service reads the request's body."""

from __future__ import annotations

import time

from app.config import KEY_NEEDED, Settings
from app.exceptions import RateLimited, StoreUnavailable, Unauthenticated
from app.redis.rate_limit import RateLimit
from app.services.access.ingest_keys import KEPT_SECONDS, IngestKey, IngestKeys
from app.support.addresses import subscriber


class Admission:
    """Admission control of `POST /events`.

    Attributes:
        needs_key: whether a key is required. A key that is sent is checked in any case.
        is_limited: whether the rate of requests is limited.
    """

    def __init__(self, settings: Settings, ingest_keys: IngestKeys, rate_limit: RateLimit) -> None:
        self._keys = ingest_keys
        self._rate_limit = rate_limit
        self.needs_key = settings.ingest_auth == KEY_NEEDED
        self._per_address = settings.rate_limit_address
        self._per_key = settings.rate_limit_key if self.needs_key else 0
        self.is_limited = bool(self._per_address or self._per_key)
        self._blind_until = 0.0  # no key can be looked up before this time

    def authorize(self, address: str, token: str | None) -> IngestKey | None:
        """Admit a request, and return its key if it has one of this installation.

        Args:
            address: the client's address, which behind an untrusted proxy (TRUSTED_PROXIES) is the proxy's.
            token: the credential that was sent as a key, if any.

        Raises:
            RateLimited: this address or key sent more requests than allowed in a minute.
            Unauthenticated: a key is required and this is not a valid key, or the key is revoked.
            StoreUnavailable: a key is required and cannot be looked up now.
        """
        if self._per_address:
            self._limit("address", subscriber(address), self._per_address)
        if self.needs_key:
            key = self._keys.verify(token) if token else None
            if key is None:
                raise Unauthenticated("No ingest key was sent, or one that is not in use.")
            if self._per_key:
                self._limit("key", str(key.id), self._per_key)
            return key
        if not token or time.monotonic() < self._blind_until:
            return None
        try:
            key = self._keys.find(token)
        except StoreUnavailable:  # accept the events without the key, because they may be spooled
            self._blind_until = time.monotonic() + KEPT_SECONDS
            return None
        if key and key.revoked_at is not None:
            raise Unauthenticated("The ingest key that was sent is revoked.")
        return key

    def _limit(self, kind: str, who: str, most: int) -> None:
        seconds = self._rate_limit.count(kind, who, most)
        if seconds is not None:
            requests = "1 request" if most == 1 else f"{most:,} requests"
            waited = "1 second" if seconds == 1 else f"{seconds} seconds"
            raise RateLimited(
                f"At most {requests} a minute may come from one {kind}. Nothing was stored; try again in {waited}.",
                seconds,
            )
