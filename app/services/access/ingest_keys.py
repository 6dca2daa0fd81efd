"""Ingest keys: permissions to send events, each with optional limits on customers and products.

A key has 256 random bits, is shown once and stored as its SHA-256. A slow hash such as argon2 protects passwords, which
can be guessed. Nobody can guess 256 random bits, and a slow hash would delay every request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.exceptions import FORBIDDEN, FieldError, Forbidden, InputInvalid, KeyUnknown, StoreUnavailable
from app.schemas.access import KeySchema
from app.schemas.events import Batch
from app.schemas.field_errors import load
from app.schemas.json import shown
from app.services.people import audit
from app.services.people.principal import SYSTEM, Principal
from app.store.access import ingest_keys as store
from app.store.database import release, transaction
from app.store.models import IngestKey as KeyRow
from app.support.clock import now

PREFIX = "tally_"  # identifies a key to people, and to tools that look for leaked secrets
SECRET_BYTES = 32
FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
HINT_CHARACTERS = len(PREFIX) + 4  # 24 of the 256 bits

KEPT_SECONDS = 2.0  # cache lifetime; a revocation takes effect everywhere after that
MAX_KEPT = 10_000
NOTED_MS = 60_000  # precision of the last use
NAMED = 5  # maximum number of allowed codes in an error

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class IngestKey:
    """A product's permission to send events."""

    id: int
    name: str
    hint: str  # the first characters of the key
    customers: tuple[str, ...] | None  # customers whose events it may send, or None for all
    products: tuple[str, ...] | None  # products whose events it may send, or None for all
    created_at: int
    used_at: int | None  # time of the last use, to the minute, or None if it was never used
    revoked_at: int | None  # time of the revocation, or None if the key is in use

    def check(self, batch: Batch) -> None:
        """Raise Forbidden for the first event of a batch that this key may not send."""
        if self.customers is None and self.products is None:
            return
        for event, place in zip(batch.events, batch.places, strict=True):
            for field, allowed in (("customer", self.customers), ("product", self.products)):
                code = getattr(event, field)
                if allowed is None or code in allowed:
                    continue
                where = f"events[{place - 1}].{field}"
                named = " or ".join(map(shown, allowed[:NAMED])) + (" or another" if len(allowed) > NAMED else "")
                fault = FieldError(f"{where} is {shown(code)}; with this key it must be {named}.", FORBIDDEN, field)
                raise Forbidden(f"The key {self.name} may not send {where}; nothing was stored.", [fault])

    def allows(self, customer: str, product: str) -> bool:
        """Return whether the key may send events of a customer and product. An empty code means an unknown one."""
        pairs = ((customer, self.customers), (product, self.products))
        return all(not code or allowed is None or code in allowed for code, allowed in pairs)


class IngestKeys:
    """Ingest keys with a cache in each process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, IngestKey | None]] = {}
        self._noted: dict[int, int] = {}
        self._to_note: dict[int, int] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def verify(self, token: str) -> IngestKey | None:
        """Return the key that a client sent, or None if it is unknown or revoked. Raise the errors of `find`."""
        key = self.find(token)
        return key if key and key.revoked_at is None else None

    def find(self, token: str) -> IngestKey | None:
        """Return the key that a client sent, active or revoked, or None if it is unknown.

        Results are cached for two seconds. While the database is unavailable, a key that was valid before stays valid.
        Refused events would be lost, and no key can be revoked during that time either.

        Raises:
            StoreUnavailable: the database is unavailable, and this process has not looked up the key before.
        """
        if not FORM.fullmatch(token):
            return None
        digest, moment = _digest(token), time.monotonic()
        read, known = self._kept.get(digest, (None, None))
        if read is not None and moment - read < KEPT_SECONDS:
            return known
        if known:
            self._kept[digest] = (moment, known)  # prevents lookups by other threads meanwhile
        try:
            row = store.find(digest)
        except StoreUnavailable:
            if known is None:
                raise
            return known
        finally:
            release()  # the request next waits for the writer, which may need a connection
        found = _key(row) if row else None
        if len(self._kept) >= MAX_KEPT:  # drop unknown tokens, whose number is unlimited
            self._kept = {digest: kept for digest, kept in list(self._kept.items()) if kept[1]}
        self._kept[digest] = (moment, found)
        if found and found.revoked_at is None:
            self._note_use(found)
        return found

    def add(
        self, name: str, customers: Sequence[str] = (), products: Sequence[str] = (), *, by: Principal = SYSTEM
    ) -> tuple[IngestKey, str]:
        """Create a key. Return it with its token, which is not available again.

        Args:
            customers, products: whose events it may send; empty means all.

        Raises:
            InputInvalid: a code or the name is invalid, a key of that name is in use, or the key is for more customers
                than its creator may see.
        """
        name, customers, products = name.strip(), list(dict.fromkeys(customers)), list(dict.fromkeys(products))
        load(KeySchema(), {"name": name, "customers": customers, "products": products}, "The key")
        if by.customers is not None and not by.covers(customers or None):
            message = f"customers must name some of those that you see: {', '.join(by.customers[:NAMED])}."
            raise InputInvalid("The key cannot be made.", [FieldError(message, field="customers")])
        token = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        hint = token[:HINT_CHARACTERS]
        with transaction():
            made = store.add(name, _digest(token), hint, customers or None, products or None, now())
            if made is None:
                fault = FieldError(f"name is {shown(name)}, and a key of that name is in use.", field="name")
                raise InputInvalid("The key cannot be made.", [fault])
            known = {"begins with": hint, "customers": customers or None, "products": products or None}
            audit.note(by, "key added", f"key {name}", known)
        return _key(made), token

    def all(self, *, by: Principal = SYSTEM) -> list[IngestKey]:
        """Return all keys that a user may see: those in use by name, then the revoked keys, the last revoked first."""
        return [key for key in map(_key, store.every()) if by.covers(key.customers)]

    def get(self, key: int, *, by: Principal = SYSTEM) -> IngestKey:
        """Return a key in use. Raise KeyUnknown if there is none, or the caller may not see it."""
        row = store.by_id(key)
        if row is None or row.revoked_at is not None or not by.covers(row.customers):
            raise KeyUnknown("There is no such key, or it is revoked already.")
        return _key(row)

    def named(self, name: str) -> IngestKey:
        """Return the key in use with a name, or raise KeyUnknown."""
        row = store.by_name(name)
        if row is None:
            raise KeyUnknown(f"There is no key {name} in use.")
        return _key(row)

    def revoke(self, key: IngestKey, *, by: Principal = SYSTEM) -> None:
        """Revoke a key: here at once, in other processes within seconds. Raise KeyUnknown if it is revoked."""
        with transaction():
            if not store.revoke(key.id, now()):
                raise KeyUnknown(f"The key {key.name} is revoked already.")
            audit.note(by, "key revoked", f"key {key.name}", {"begins with": key.hint})
        self._kept = {digest: kept for digest, kept in list(self._kept.items()) if kept[1] and kept[1].id != key.id}

    def flush(self) -> None:
        """Wait until all recorded uses are written."""
        if thread := self._thread:
            thread.join()

    def _note_use(self, key: IngestKey) -> None:
        """Record the last use once a minute, in a separate thread because the write may wait for the disk."""
        moment = now()
        with self._lock:
            if moment - max(key.used_at or 0, self._noted.get(key.id, 0)) < NOTED_MS:
                return
            self._noted[key.id] = self._to_note[key.id] = moment
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._write_uses, name="keys", daemon=True)
                self._thread.start()

    def _write_uses(self) -> None:
        while True:
            with self._lock:
                if not self._to_note:
                    self._thread = None
                    return
                key, moment = self._to_note.popitem()
            try:
                store.note_use(key, moment)
            except StoreUnavailable as error:
                log.warning("last use of an ingest key not noted", reason=str(error))
            finally:
                release()


def _key(row: KeyRow) -> IngestKey:
    customers, products = (None if codes is None else tuple(codes) for codes in (row.customers, row.products))
    return IngestKey(row.id, row.name, row.hint, customers, products, row.created_at, row.used_at, row.revoked_at)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
