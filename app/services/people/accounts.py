"""Users, their rights, and the verification of their passwords.

A user manager who is limited to customers can change only users who see no more than the manager does, and cannot grant
more. The last admin with a password cannot lose that role, and the last of them without a limit to customers cannot be
limited. The role and customers of users of an identity provider come from their groups there; see `single_sign_on`.

Names are compared in NFC, without surrounding blanks and invisible characters.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from app.exceptions import AccountInvalid, AccountUnknown, Forbidden
from app.schemas.fields import CONTROL, MAX_CODE
from app.services.people import audit
from app.services.people.passwords import Passwords
from app.services.people.principal import ADMIN, ANALYST, ROLES, SYSTEM, Principal
from app.store.database import transaction
from app.store.models import Account
from app.store.people import accounts as store
from app.store.people import saved_views, second_factors, sessions, tokens
from app.store.people.sessions import EndReason
from app.support.clock import DAY_MS, now
from app.support.lookalikes import folded

MAX_CUSTOMERS = 1_000
# As RFC 5322 has it without quotes: neither part begins or ends with a dot, or has two in a row.
ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
MAIL = re.compile(rf"(?=.{{1,64}}@.{{1,255}}\Z){ATOM}(\.{ATOM})*@[\w-]+(\.[\w-]+)*", re.ASCII)
TEMPORARY_DAYS = 3  # validity of a temporary password
TEMPORARY_BYTES = 12


class Accounts:
    """Accounts of the installation.

    Args:
        only_oidc: accept the password of one user only; see `is_way_back`.
    """

    def __init__(self, *, only_oidc: bool = False) -> None:
        self._passwords = Passwords()
        self._only_oidc = only_oidc

    def verify(self, name: str, password: str, *, used: bool = False) -> Principal | None:
        """Return the user with that name and password, or None. Use `login` for sign-ins over the network.

        With `used`, a one-time password that has been used is right, too.
        """
        account = self._account(name, used=used)
        is_right = self._passwords.matches(name, password, account.password if account else None)
        return principal(account) if account and is_right else None

    def remembered(self, name: str, password: str) -> Principal | None:
        """Return the user with that name and password if they were verified within the last minute, otherwise None."""
        if not self._passwords.may_be_remembered(name, password):
            return None
        account = self._account(name)
        is_right = account is not None and self._passwords.is_remembered(name, password, account.password)
        return principal(account) if account and is_right else None

    def is_known(self, name: str) -> bool:
        """Return whether a user has that name."""
        return self._account(name) is not None

    def get(self, key: int, *, by: Principal = SYSTEM) -> Principal:
        """Return a user to be changed. Raise AccountUnknown, or Forbidden if they see more than the caller."""
        account = store.by_id(key)
        if account is None:
            raise AccountUnknown("There is no such user: somebody removed them.")
        if not by.covers(account.customers):
            raise Forbidden("This user sees more customers than you do.")
        return principal(account)

    def named(self, name: str) -> Principal:
        """Return the user with that name.

        Raises:
            AccountUnknown: there is no such user.
        """
        return principal(_get(SYSTEM, name))

    def add(
        self,
        name: str,
        role: str,
        customers: Sequence[str] | None,
        password: str,
        *,
        mail: str = "",
        temporary: bool = False,
        by: Principal = SYSTEM,
    ) -> Principal:
        """Add a user.

        Args:
            customers: the customers they are limited to. None means no customers for an analyst, all for other roles.
            mail: the mail address, or an empty text.
            temporary: the password is valid for one sign-in, at which the user must choose another password.
            by: the user who adds the account.

        Raises:
            AccountInvalid: the name, role, mail, a customer or the password is invalid, or the name is already used.
            Forbidden: the user would see more than the caller.
        """
        name = folded(name)
        if not _storable(name) or ":" in name:
            raise AccountInvalid("A user's name has 1 to 128 characters, no colon and no control characters.")
        limited, mail = _limits(role, customers), _check_mail(mail)
        _check_reach(by, name, limited)
        hashed = self._passwords.hash(password)
        expires = now() + TEMPORARY_DAYS * DAY_MS if temporary else None
        with transaction():
            made = store.add(name, role, limited, hashed, expires, secrets.token_hex(16), now())
            if made is None:
                raise AccountInvalid(f"There is a user {name} already.")
            details: dict[str, object] = {"role": role, "customers": limited}
            if mail:
                store.set_mail(made.id, mail)
                details["mail"] = mail
            audit.note(by, "user added", f"user {name}", details)
        return principal(made)

    def change(
        self,
        who: Principal,
        role: str,
        customers: Sequence[str] | None,
        *,
        mail: str | None = None,
        by: Principal = SYSTEM,
    ) -> None:
        """Change a user's role or customers, which applies from their next request, and the mail address if given.

        Raises:
            AccountInvalid: the role, a customer or the mail is invalid, or the user is the last admin.
            AccountUnknown: the user was removed in the meantime.
            Forbidden: the user sees more than the caller, or would see more.
        """
        limited, mail = _limits(role, customers), None if mail is None else _check_mail(mail)
        _check_reach(by, who.name, limited)
        with transaction():
            _check_not_last(who.id, who.name, role, limited)
            account = store.by_id(who.id)
            if account is None:
                raise AccountUnknown(f"There is no user {who.name} any more.")
            _check_reach(by, who.name, account.customers)  # by the current rights, which may have grown
            if account.oidc_issuer is not None:
                raise AccountInvalid(f"The role and customers of {who.name} come from the identity provider.")
            store.change(who.id, role, limited)
            before, after = {"role": account.role, "customers": account.customers}, {"role": role, "customers": limited}
            details: dict[str, object] = {}
            for key in before:
                if before[key] != after[key]:
                    details |= {f"old {key}": before[key], f"new {key}": after[key]}
            if mail is not None and mail != (account.mail or ""):
                store.set_mail(who.id, mail or None)
                details |= {"old mail": account.mail, "new mail": mail}
            audit.note(by, "user changed", f"user {who.name}", details)

    def mail(self, who: Principal) -> str:
        """Return a user's mail address, or an empty text."""
        account = store.by_id(who.id)
        return (account.mail if account else None) or ""

    def set_mail(self, who: Principal, address: str, *, by: Principal = SYSTEM) -> None:
        """Change a user's mail address; an empty one removes it.

        Raises:
            AccountInvalid: it is no address.
            AccountUnknown: the user was removed in the meantime.
            Forbidden: the user sees more than the caller.
        """
        address = _check_mail(address)
        with transaction():
            account = _get(by, who.name)
            if address == (account.mail or ""):
                return
            store.set_mail(account.id, address or None)
            audit.note(by, "user changed", f"user {account.name}", {"old mail": account.mail, "new mail": address})

    def set_password(self, name: str, password: str, *, temporary: bool = False, by: Principal = SYSTEM) -> Principal:
        """Change a user's password and end their sessions. A temporary password is valid for one sign-in.

        Raise AccountInvalid if the password is invalid, and the errors of `remove`.
        """
        hashed = self._passwords.hash(password)
        expires = now() + TEMPORARY_DAYS * DAY_MS if temporary else None
        with transaction():
            account = _get(by, name)
            if account.oidc_issuer is not None:
                raise AccountInvalid(f"{account.name} signs in at the identity provider, and has no password here.")
            account.password_version, account.password_expires_at = secrets.token_hex(16), expires
            store.set_password(account.id, hashed, expires, account.password_version)
            is_own = by.id == account.id
            sessions.end_of(account.id, EndReason.PASSWORD_CHANGED if is_own else EndReason.PASSWORD_RESET)
            act = "password changed" if is_own else "password reset"
            audit.note(by, act, f"user {account.name}")
        return principal(account)

    def remove(self, name: str, *, by: Principal = SYSTEM) -> None:
        """Remove a user with their API tokens, sessions and saved views, but keep their reports.

        Raises:
            AccountInvalid: the user is the last admin.
            AccountUnknown: there is no such user.
            Forbidden: the user sees more than the caller.
        """
        with transaction():
            account = _get(by, name)
            _check_not_last(account.id, account.name)
            store.remove(account.id)
            second_factors.replace_codes(account.id, [])
            sessions.end_of(account.id, EndReason.REMOVED)
            tokens.remove_of(account.id)
            saved_views.remove_of(account.id)
            audit.note(by, "user removed", f"user {account.name}", {"role": account.role})

    def deactivate(self, name: str, *, by: Principal = SYSTEM) -> None:
        """Keep a user from signing in, end their sessions, and remove their API tokens.

        Raises:
            AccountInvalid: the user is the last admin, or deactivated already.
            AccountUnknown: there is no such user.
            Forbidden: the user sees more than the caller.
        """
        with transaction():
            account = _get(by, name)
            if account.deactivated_at is not None:
                raise AccountInvalid(f"{account.name} is deactivated already.")
            _check_not_last(account.id, account.name)
            end_access(account.id, now(), EndReason.DEACTIVATED)
            audit.note(by, "user deactivated", f"user {account.name}")

    def activate(self, name: str, *, by: Principal = SYSTEM) -> None:
        """Let a deactivated user sign in again. Raise the errors of `deactivate`."""
        with transaction():
            account = _get(by, name)
            if account.deactivated_at is None:
                raise AccountInvalid(f"{account.name} is not deactivated.")
            store.activate(account.id)
            audit.note(by, "user activated", f"user {account.name}")

    def is_way_back(self, key: int) -> bool:
        """Return whether a user is the one local admin whose password is accepted with OIDC_ONLY, the oldest one."""
        return self._only_oidc and store.oldest_admin() == key

    def everyone(self, *, by: Principal = SYSTEM) -> list[Principal]:
        """Return all users that the caller may change, by name."""
        return [one for one in map(principal, store.everyone()) if by.covers(one.customers)]

    def any(self) -> bool:
        """Return whether a user exists."""
        return store.exists()

    def _account(self, name: str, *, used: bool = False) -> Account | None:
        """Return the user with that name if their password has neither expired nor been used up (unless `used`).

        Return None for a user without a password here, for one who is deactivated, and for one whose password is not
        accepted.
        """
        name = folded(name)
        account = store.by_name(name) if _storable(name) else None
        if account is not None:
            is_inactive = account.oidc_issuer is not None or account.deactivated_at is not None
            if is_inactive or (self._only_oidc and not self.is_way_back(account.id)):
                return None
        if account is None or account.password_expires_at is None:
            return account
        is_good = account.password_expires_at > now() or (used and account.password_expires_at == store.USED_UP)
        return account if is_good else None


def principal(account: Account) -> Principal:
    """Return the principal of an account."""
    customers = None if account.customers is None else tuple(account.customers)
    return Principal(
        account.id,
        account.name,
        account.role,
        customers,
        account.password_version,
        temporary=account.password_expires_at is not None,
        is_external=account.oidc_issuer is not None,
        is_active=account.deactivated_at is None,
        has_second_factor=account.totp_salt is not None,
    )


def end_access(account: int, deactivated_at: int | None, reason: EndReason) -> None:
    """End a user's sessions and remove their API tokens, inside a transaction."""
    store.end_access(account, deactivated_at, secrets.token_hex(16))
    sessions.end_of(account, reason)
    tokens.remove_of(account)


def owner(key: int, name: str) -> Principal:
    """Return the owner of a schedule or webhook, or raise Forbidden if the user is gone or deactivated.

    Args:
        key: the id of the user, or of SYSTEM.
        name: the user's name when they were last known.
    """
    if key == SYSTEM.id:
        return SYSTEM
    account = store.by_id(key)
    if account is None:
        raise Forbidden(f"Its owner, {name}, is no user any more.")
    if account.deactivated_at is not None:
        raise Forbidden(f"Its owner, {name}, is deactivated.")
    return principal(account)


def temporary_password() -> str:
    """Return a random password that can be copied by hand."""
    return secrets.token_urlsafe(TEMPORARY_BYTES)


def _get(by: Principal, name: str) -> Account:
    """Return the user with that name, or raise AccountUnknown, or Forbidden if `by` may not change them."""
    account = store.by_name(folded(name))
    if account is None:
        raise AccountUnknown(f"There is no user {name}.")
    if by.id != account.id:
        _check_reach(by, name, account.customers)
    return account


def _limits(role: str, customers: Sequence[str] | None) -> list[str] | None:
    """Return the customers that a user of a role is limited to, or None for no limit."""
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


def _check_mail(address: str) -> str:
    """Return a mail address without blanks around it. It may be empty."""
    address = address.strip()
    if address and not MAIL.fullmatch(address):
        raise AccountInvalid("A mail address is one such as anna@example.com.")
    return address


def _check_reach(by: Principal, name: str, customers: Sequence[str] | None) -> None:
    if not by.covers(customers):
        raise Forbidden(f"{name} sees more customers than you do, or would.")


def _check_not_last(key: int, name: str, role: str = "", customers: Sequence[str] | None = None) -> None:
    """Reject a change or removal (no role) that would leave no admin, or no admin who sees all customers.

    Call it inside a transaction, so that two admins who change each other at the same time are serialized.
    """
    admins = store.lock_admins()
    unlimited = {admin for admin, limits in admins.items() if limits is None}
    if role != ADMIN and admins.keys() == {key}:
        raise AccountInvalid(f"{name} is the last admin: without one nobody can manage users. Make another first.")
    if (role != ADMIN or customers is not None) and unlimited == {key}:
        raise AccountInvalid(
            f"{name} is the last admin who is not limited to customers: without one nobody can manage all users. "
            "Make another first."
        )


def _storable(name: str) -> bool:
    return 1 <= len(name) <= 128 and not CONTROL.search(name)
