"""Customers that a form names although neither an event nor the catalog has them yet, which may be a typing error."""

from __future__ import annotations

from collections.abc import Sequence

from flask import flash

from app.admin.blueprint import services

NAMED = 5


def point_out_unknown(customers: Sequence[str]) -> None:
    """Show a message on the next page about those of the customers that are not known yet."""
    unknown = services().catalog.unknown_customers(customers)
    if unknown:
        rest = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        verb = "is" if len(unknown) == 1 else "are"
        flash(f"{', '.join(unknown[:NAMED])}{rest} {verb} not known yet: no event and no catalog entry has the code.")
