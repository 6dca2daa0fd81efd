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
class Principal:
    """Authenticated user."""

    id: int
    name: str
    role: str
    customers: tuple[str, ...] | None  # the customers that the user is limited to, or None for no limit
    password_version: str  # a random value that a session must match; it changes with the password
    address: str = field(default="", compare=False)  # the client's address; empty for the server itself
    temporary: bool = False  # whether the user's password is temporary, i.e. valid for one sign-in

    @property
    def permissions(self) -> tuple[str, ...]:
        """Return the permissions of the role."""
        return PERMISSIONS[self.role]

    def may(self, permission: str) -> bool:
        """Return whether the role has a permission."""
        return permission in self.permissions

    def sees(self, customer: str) -> bool:
        """Return whether the user may see data of a customer."""
        return self.customers is None or customer in self.customers

    def covers(self, customers: Sequence[str] | None) -> bool:
        """Return whether the user sees at least as much as somebody who is limited to some customers (None: not)."""
        return self.customers is None or (customers is not None and set(customers) <= set(self.customers))

    @property
    def sees_all_reports(self) -> bool:
        """Return whether the user may see other users' reports, within their customers."""
        return self.role in (ADMIN, OPERATOR)


# The principal for commands on the server itself.
SYSTEM = Principal(0, "system", ADMIN, None, "")
