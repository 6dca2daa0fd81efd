"""API tokens: a user's credentials for programs, each with scopes, perhaps fewer customers, and an expiry.

A token is `tly_`, 43 random characters (256 bits) and a checksum, all of them letters and digits, so that a secret
scanner recognizes it and a truncated copy is rejected without a query. It is shown once and stored as its SHA-256; see
`services.access.ingest_keys` for why no slow hash is needed. Tokens are not counted as attempts to guess a password,
so wrong passwords from the same address never reject a program that uses one.

What a token permits is decided at each use: never more than its user's role and customers permit at that time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from app.exceptions import FieldError, Forbidden, InputInvalid, StoreUnavailable, TokenUnknown
from app.schemas.field_errors import load
from app.schemas.json import shown
from app.schemas.people import TokenSchema
from app.services.people import audit
from app.services.people.accounts import principal
from app.services.people.principal import SCOPES, SYSTEM, Principal
from app.store.database import server_time, transaction
from app.store.models import ApiToken
from app.store.people import tokens as store
from app.support.clock import DAY_MS, MINUTE_MS, now

PREFIX = "tly_"
ALPHABET = string.ascii_letters + string.digits
SECRET_CHARACTERS = 43
SUM_CHARACTERS = 6
FORM = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{SECRET_CHARACTERS + SUM_CHARACTERS}}}")
HINT_CHARACTERS = len(PREFIX) + 4

DEFAULT_DAYS = 90
MAX_TOKENS = 100  # active tokens of a user
KEPT_DAYS = 90  # how long expired and revoked tokens are listed
NAMED = 5  # maximum number of customers in an error

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Token:
    """API token of a user, without its secret.

    Attributes:
        customers: the customers that it is limited to, or None for those of its user.
        used_at: time of the last use, to the minute, or None if it was never used.
        revoked_at: time of the revocation, or None.
    """

    id: int
    owner: Principal
    name: str
    hint: str
    scopes: tuple[str, ...]
    customers: tuple[str, ...] | None
    created_at: int
    expires_at: int
    used_at: int | None
    revoked_at: int | None

    @property
    def state(self) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.expires_at > now() else "expired"


def verify(text: str, address: str) -> Principal | None:
    """Return the user of a token as far as the token permits, or None if it is unknown, expired or revoked."""
    if not is_token(text):
        return None
    moment = now()
    found = store.find(_digest(text), moment)
    if found is None:
        return None
    row, account = found
    if moment - (row.used_at or 0) >= MINUTE_MS:
        try:
            store.note_use(row.id, moment)
        except StoreUnavailable as error:  # the next request will record it
            log.warning("last use of an API token not noted", reason=str(error))
    user = principal(account)
    limits = _narrower(user.customers, row.customers)
    return replace(user, customers=limits, address=address, temporary=False, scopes=tuple(row.scopes), token=row.name)


def add(
    owner: Principal,
    name: str,
    scopes: Sequence[str],
    customers: Sequence[str] = (),
    days: int | str = DEFAULT_DAYS,
    *,
    by: Principal = SYSTEM,
) -> tuple[Token, str]:
    """Create a token. Return it with its text, which is not available again.

    Args:
        owner: the user for whom it acts.
        scopes: some of SCOPES.
        customers: the customers that it is limited to; empty means those of the owner.
        days: number of days until it expires, also as digits.
        by: who creates it.

    Raises:
        InputInvalid: a value is invalid, the owner's role does not permit a scope, the owner does not see a
            customer, the owner has an active token of that name, or too many.
        Forbidden: the owner sees more than the creator.
    """
    if not by.covers(owner.customers):
        raise Forbidden("This user sees more customers than you do.")
    name, customers = name.strip(), list(dict.fromkeys(customers))
    loaded = load(TokenSchema(), {"name": name, "customers": customers, "days": days}, "The token")
    scopes = _check_scopes(owner, scopes)
    if customers and not owner.covers(customers):
        seen = ", ".join(map(shown, (owner.customers or ())[:NAMED])) or "none"
        raise _invalid("customers", f"customers must be some of those that {owner.name} sees: {seen}.")
    text = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARACTERS))
    text += _checksum(text)
    moment = now()
    expires_at = moment + loaded["days"] * DAY_MS
    hint = text[:HINT_CHARACTERS]
    with transaction():
        if sum(token.state == "active" for token in of(owner)) >= MAX_TOKENS:
            raise _invalid("name", f"{owner.name} has {MAX_TOKENS} active tokens. Revoke one first.")
        made = store.add(owner.id, name, _digest(text), hint, scopes, customers or None, moment, expires_at)
        if made is None:
            raise _invalid("name", f"name is {shown(name)}, and an unrevoked token has that name.")
        details = {"user": owner.name, "begins with": hint, "scopes": scopes, "days": loaded["days"]}
        audit.note(by, "token added", f"token {name}", details | {"customers": customers or None})
    return _token(made, owner), text


def of(owner: Principal) -> list[Token]:
    """Return a user's tokens: those that are not revoked by name, then the revoked ones."""
    return [_token(row, owner) for row, _ in store.every(owner.id)]


def every(*, by: Principal = SYSTEM) -> list[Token]:
    """Return the tokens of all users that the caller may change, in the order of `of`."""
    found = [_token(row, principal(account)) for row, account in store.every(None)]
    return [token for token in found if by.covers(token.owner.customers)]


def get(key: int, *, by: Principal) -> Token:
    """Return a token that is not revoked.

    Raises:
        TokenUnknown: there is no such token, it is revoked, or the caller may not see it.
    """
    found = store.by_id(key)
    if found is not None:
        token = _token(found[0], principal(found[1]))
        may_see = by.id == token.owner.id or (by.may("users") and by.covers(token.owner.customers))
        if token.revoked_at is None and may_see:
            return token
    raise TokenUnknown("There is no such token, or it is revoked already.")


def revoke(token: Token, *, by: Principal = SYSTEM) -> None:
    """Revoke a token, at once in all processes. Raise TokenUnknown if it is revoked."""
    with transaction():
        if not store.revoke(token.id, now()):
            raise TokenUnknown(f"The token {token.name} is revoked already.")
        details = {"user": token.owner.name, "begins with": token.hint}
        audit.note(by, "token revoked", f"token {token.name}", details)


def purge() -> None:
    """Remove tokens that expired or were revoked KEPT_DAYS ago."""
    store.purge(server_time() - KEPT_DAYS * DAY_MS)


def is_token(text: str) -> bool:
    """Return whether a text has the form of a token and the right checksum."""
    return bool(FORM.fullmatch(text)) and _checksum(text[:-SUM_CHARACTERS]) == text[-SUM_CHARACTERS:]


def _checksum(text: str) -> str:
    """Return the CRC-32 of a text as six letters and digits."""
    value, digits = zlib.crc32(text.encode()), ""
    for _ in range(SUM_CHARACTERS):
        value, digit = divmod(value, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def _check_scopes(owner: Principal, scopes: Sequence[str]) -> list[str]:
    """Return the scopes in the order of SCOPES, once each. Raise InputInvalid."""
    permitted = [scope for scope in SCOPES if owner.may(SCOPES[scope].permission)]
    if not scopes:
        raise _invalid("scopes", f"scopes is empty; it must have one or more of {', '.join(permitted)}.")
    for scope in scopes:
        if scope not in SCOPES:
            raise _invalid("scopes", f"scopes has {shown(scope)}; allowed are {', '.join(permitted)}.")
        if scope not in permitted:
            raise _invalid("scopes", f"scopes has {shown(scope)}, which the role {owner.role} does not permit.")
    return [scope for scope in permitted if scope in scopes]


def _narrower(mine: Sequence[str] | None, limits: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the customers that both a user and a token are limited to (None: not limited)."""
    if mine is None or limits is None:
        both = limits if mine is None else mine
        return None if both is None else tuple(both)
    return tuple(code for code in limits if code in mine)


def _invalid(field: str, message: str) -> InputInvalid:
    return InputInvalid("The token cannot be made.", [FieldError(message, field=field)])


def _token(row: ApiToken, owner: Principal) -> Token:
    customers = None if row.customers is None else tuple(row.customers)
    times = (row.created_at, row.expires_at, row.used_at, row.revoked_at)
    return Token(row.id, owner, row.name, row.hint, tuple(row.scopes), customers, *times)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
