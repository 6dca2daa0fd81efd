"""Who somebody is, once they have proved it, and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass, field

ADMIN, OPERATOR, ANALYST = "admin", "operator", "analyst"
ROLES = (ADMIN, OPERATOR, ANALYST)
# What a role may do; `Principal.may` is the only place that asks.
PERMISSIONS = {
    ADMIN: ("events", "reports", "catalog", "system", "users", "keys"),
    OPERATOR: ("events", "reports", "catalog", "system"),
    ANALYST: ("events", "reports"),
}


@dataclass(frozen=True)
class Principal:
    """Somebody who proved who they are.

    Attributes:
        customers: the customers they are limited to; None: all of them.
        password_version: a word that a session must know; it changes with the password.
        address: from which they came; empty: from the server itself.
        temporary: whether their password was given to them for one sign-in.
    """

    id: int
    name: str
    role: str
    customers: tuple[str, ...] | None
    password_version: str
    address: str = field(default="", compare=False)
    temporary: bool = False

    @property
    def permissions(self) -> tuple[str, ...]:
        """What the role may do."""
        return PERMISSIONS[self.role]

    def may(self, permission: str) -> bool:
        """Whether the role may do something."""
        return permission in self.permissions

    def sees(self, customer: str) -> bool:
        """Whether data of a customer is theirs to see."""
        return self.customers is None or customer in self.customers

    @property
    def sees_all_reports(self) -> bool:
        """Whether reports that others started are theirs to see, too (within their customers)."""
        return self.role in (ADMIN, OPERATOR)


# Whoever runs commands on the server itself.
SYSTEM = Principal(0, "system", ADMIN, None, "")
