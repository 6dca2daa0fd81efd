"""Instructions for sending the first event: the address, and whether a key is required."""

from __future__ import annotations

from flask import current_app

from app.admin.blueprint import services


def known() -> dict[str, object]:
    """Return the values that `_first_event.html` needs."""
    return {"base_url": current_app.config["SETTINGS"].base_url, "needs_key": services().admission.needs_key}
