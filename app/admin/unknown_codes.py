"""Message about customers in a form that occur neither in events nor in the catalog, which may be typing errors."""

from __future__ import annotations

from collections.abc import Sequence

from flask import flash

from app.admin.blueprint import services

NAMED = 5


def point_out_unknown(customers: Sequence[str]) -> None:
    """Show a message on the next page about the given customers that are not known yet."""
    unknown = services().catalog.unknown_customers(customers)
    if unknown:
        rest = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        verb = "is" if len(unknown) == 1 else "are"
        reason = "because no event and no catalog entry has the code. Check for typing errors."
        flash(f"{', '.join(unknown[:NAMED])}{rest} {verb} not known yet, {reason}")
