"""Users: who there is, what each may do and see, and whether a password is theirs.

Whoever is limited to customers and may change users changes only those who see no more than they do, and gives nobody
more. The last admin stays one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from app.exceptions import AccountInvalid, AccountUnknown, Forbidden
from app.schemas.fields import CONTROL, MAX_CODE
from app.services.audit import Audit
from app.services.clock import now
from app.services.passwords import Passwords
from app.services.principal import ADMIN, ANALYST, ROLES, SYSTEM, Principal
from app.store import accounts as store
from app.store import sessions
from app.store.database import transaction
from app.store.models import Account

MAX_CUSTOMERS = 1_000
TEMPORARY_DAYS = 3  # how long a password that is for one sign-in waits for it
TEMPORARY_BYTES = 12
DAY_MS = 86_400_000


class Accounts:
    """Users, as one process knows them."""

    def __init__(self) -> None:
        self._audit = Audit()
        self._passwords = Passwords()

    def verify(self, name: str, password: str) -> Principal | None:
        """Whoever has that name and password, or None. See `door` for whoever comes over the network."""
        account = self._account(name)
        right = self._passwords.matches(name, password, account.password if account else None)
        return principal(account) if right else None

    def remembered(self, name: str, password: str) -> Principal | None:
        """Whoever has that name and password, where it was found right within the last minute; else None."""
        if not self._passwords.may_be_remembered(name, password):
            return None
        account = self._account(name)
        right = account is not None and self._passwords.is_remembered(name, password, account.password)
        return principal(account) if right else None

    def is_known(self, name: str) -> bool:
        """Whether there is such a user."""
        return self._account(name) is not None

    def get(self, key: int, *, by: Principal = SYSTEM) -> Principal:
        """A user, for whoever wants to change them.

        Raises:
            AccountUnknown: there is none of that id.
            Forbidden: the user sees more than whoever asks.
        """
        account = store.by_id(key)
        if account is None:
            raise AccountUnknown("There is no such user: somebody removed them.")
        found = principal(account)
        if not _is_in_reach(by, found.customers):
            raise Forbidden("This user sees more customers than you do.")
        return found

    def add(
        self,
        name: str,
        role: str,
        customers: Sequence[str] | None,
        password: str,
        *,
        temporary: bool = False,
        by: Principal = SYSTEM,
    ) -> Principal:
        """Make a user.

        Args:
            customers: the customers they are limited to; None: an analyst sees none, the others all.
            temporary: the password is for one sign-in, at which they choose their own.
            by: whoever makes them.

        Raises:
            AccountInvalid: the name, role, a customer or the password will not do, or there is such a user.
            Forbidden: they would see more than whoever makes them.
        """
        _check_name(name)
        limited = _limits(role, customers)
        _check_reach(by, name, limited)
        hashed = self._passwords.hash(password)
        expires = now() + TEMPORARY_DAYS * DAY_MS if temporary else None
        with transaction():
            made = store.add(name, role, limited, hashed, expires, _word(), now())
            if made is None:
                raise AccountInvalid(f"There is a user {name} already.")
            self._audit.note(by, "user added", f"user {name}", {"role": role, "customers": limited})
        return principal(made)

    def change(self, who: Principal, role: str, customers: Sequence[str] | None, *, by: Principal = SYSTEM) -> None:
        """Give a user another role or other customers: it counts with their next request.

        Raises:
            AccountInvalid: the role or a customer will not do, there is no such user, or they are the last admin.
            Forbidden: they would see more than whoever changes them.
        """
        limited = _limits(role, customers)
        _check_reach(by, who.name, limited)
        with transaction():
            if role != ADMIN:
                _check_not_last(who.id, who.name)
            if not store.change(who.id, role, limited):
                raise AccountUnknown(f"There is no user {who.name} any more.")
            self._audit.note(by, "user changed", f"user {who.name}", _difference(who, role, limited))

    def set_password(self, name: str, password: str, *, temporary: bool = False, by: Principal = SYSTEM) -> Principal:
        """Give a user another password; their sessions end.

        Args:
            temporary: it is for one sign-in, at which they choose their own.

        Raises:
            AccountInvalid: the password will not do, or there is no such user.
        """
        hashed = self._passwords.hash(password)
        expires = now() + TEMPORARY_DAYS * DAY_MS if temporary else None
        with transaction():
            if not store.set_password(name, hashed, expires, _word()):
                raise AccountInvalid(f"There is no user {name}.")
            account = store.by_name(name)
            sessions.remove_of(account.id)
            self._audit.note(by, "password changed" if by.id == account.id else "password reset", f"user {name}")
        return principal(account)

    def remove(self, name: str, *, by: Principal = SYSTEM) -> None:
        """Remove a user; their sessions end, their reports stay.

        Raises:
            AccountInvalid: there is no such user, or they are the last admin.
        """
        with transaction():
            account = store.by_name(name)
            if account is None:
                raise AccountInvalid(f"There is no user {name}.")
            _check_not_last(account.id, name)
            store.remove(account.id)
            sessions.remove_of(account.id)
            self._audit.note(by, "user removed", f"user {name}", {"role": account.role})

    def everyone(self, *, by: Principal = SYSTEM) -> list[Principal]:
        """All users that somebody may change, by name."""
        return [one for one in map(principal, store.everyone()) if _is_in_reach(by, one.customers)]

    def any(self) -> bool:
        """Whether there is any user yet."""
        return store.exists()

    def _account(self, name: str) -> Account | None:
        """The user of that name, whose password has not run out."""
        account = store.by_name(name) if _storable(name) else None
        if account and account.password_expires is not None and account.password_expires <= now():
            return None
        return account


def principal(account: Account) -> Principal:
    """Who a row of the table of users stands for."""
    customers = None if account.customers is None else tuple(account.customers)
    temporary = account.password_expires is not None
    return Principal(account.id, account.name, account.role, customers, account.session, temporary=temporary)


def temporary_password() -> str:
    """One that nobody guesses, and that can be copied by hand."""
    return secrets.token_urlsafe(TEMPORARY_BYTES)


def _word() -> str:
    return secrets.token_hex(16)


def _limits(role: str, customers: Sequence[str] | None) -> list[str] | None:
    """The customers that a user of a role is limited to; None: to none."""
    if role not in ROLES:
        raise AccountInvalid(f"The role {role!r} is not one of {', '.join(ROLES)}.")
    if not customers:
        return [] if role == ANALYST else None
    limited = list(dict.fromkeys(customers))
    if len(limited) > MAX_CUSTOMERS:
        raise AccountInvalid(f"{len(limited)} customers are named; at most {MAX_CUSTOMERS} may be.")
    for code in limited:
        if not 1 <= len(code) <= MAX_CODE or CONTROL.search(code):
            raise AccountInvalid(f"A customer's code has 1 to {MAX_CODE} characters, and no control characters.")
    return limited


def _is_in_reach(by: Principal, customers: Sequence[str] | None) -> bool:
    return by.customers is None or (customers is not None and set(customers) <= set(by.customers))


def _check_reach(by: Principal, name: str, customers: Sequence[str] | None) -> None:
    if not _is_in_reach(by, customers):
        raise Forbidden(f"{name} sees more customers than you do, or would.")


def _check_not_last(key: int, name: str) -> None:
    """Inside a transaction: two who remove one another wait here for each other."""
    if store.lock_admins() == {key}:
        raise AccountInvalid(f"{name} is the last admin: without one nobody can manage users. Make another first.")


def _difference(who: Principal, role: str, customers: list[str] | None) -> dict[str, object]:
    before = {"role": who.role, "customers": None if who.customers is None else list(who.customers)}
    after = {"role": role, "customers": customers}
    return {
        f"{when} {key}": value[key]
        for key in before
        if before[key] != after[key]
        for when, value in (("old", before), ("new", after))
    }


def _storable(name: str) -> bool:
    return 1 <= len(name) <= 128 and not CONTROL.search(name)


def _check_name(name: str) -> None:
    if not _storable(name) or ":" in name:
        raise AccountInvalid("A user's name has 1 to 128 characters, no colon and no control characters.")
