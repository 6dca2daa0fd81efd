"""Principals: authenticated users, and the permissions of each role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

ADMIN, OPERATOR, ANALYST = "admin", "operator", "analyst"
ROLES = (ADMIN, OPERATOR, ANALYST)
# The permissions of each role, checked only by `Principal.may`.
PERMISSIONS = {
    ADMIN: ("events", "reports", "catalog", "system", "users", "keys"),
    OPERATOR: ("events", "reports", "catalog", "system"),
    ANALYST: ("events", "reports"),
}


@dataclass(frozen=True)
class Scope:
    """Scope of an API token.

    Attributes:
        permission: what the user's role must permit.
        description: what it allows, for people.
        includes: another scope that it contains.
    """

    permission: str
    description: str
    includes: str | None = None


# A scope is a permission of the API and whether it reads or writes; `admin` scopes are for the service itself.
SCOPES = {
    "events:read": Scope("events", "Read events"),
    "reports:read": Scope("reports", "List reports, follow their progress and download their files"),
    "reports:write": Scope("reports", "Start, retry and delete reports, besides reports:read", "reports:read"),
    "admin:system": Scope("system", "Read the metrics of the service"),
}


def scope_of(permission: str, method: str) -> str:
    """Return the scope that an API token needs for a request with an HTTP method that needs a permission."""
    return f"{permission}:{'read' if method in ('GET', 'HEAD') else 'write'}"


@dataclass(frozen=True)
class Principal:
    """Authenticated user, perhaps by an API token that permits less than the user's role."""

    id: int
    name: str
    role: str
    customers: tuple[str, ...] | None  # the customers that the user is limited to, or None for no limit
    password_version: str  # a random value that a session must match; it changes with the password
    address: str = field(default="", compare=False)  # the client's address; empty for the server itself
    temporary: bool = False  # whether the user's password is temporary, i.e. valid for one sign-in
    scopes: tuple[str, ...] | None = None  # scopes of the API token, or None if the user did not use one
    token: str = ""  # name of the API token
    is_external: bool = False  # whether the user signs in at the identity provider, and has no password
    is_active: bool = True  # an inactive user cannot sign in
    has_second_factor: bool = False

    @property
    def permissions(self) -> tuple[str, ...]:
        """Return the permissions of the role, as far as an API token has a scope for them."""
        of_role = PERMISSIONS[self.role]
        if self.scopes is None:
            return of_role
        return tuple(one for one in of_role if any(SCOPES[scope].permission == one for scope in self.scopes))

    def has_scope(self, scope: str) -> bool:
        """Return whether the API token has a scope or one that includes it. A user without a token has all scopes."""
        return self.scopes is None or any(scope in (one, SCOPES[one].includes) for one in self.scopes)

    def may(self, permission: str) -> bool:
        """Return whether the role, and the API token if there is one, have a permission."""
        return permission in self.permissions

    def sees(self, *customers: str) -> bool:
        """Return whether the user may see data of all the given customers."""
        return self.customers is None or set(customers) <= set(self.customers)

    def covers(self, customers: Sequence[str] | None) -> bool:
        """Return whether the user sees at least as much as somebody who is limited to some customers (None: not)."""
        return self.customers is None or (customers is not None and set(customers) <= set(self.customers))

    @property
    def sees_all_reports(self) -> bool:
        """Return whether the user may see other users' reports, within their customers."""
        return self.role in (ADMIN, OPERATOR)


# The principal for commands on the server itself.
SYSTEM = Principal(0, "system", ADMIN, None, "")
