"""What shows a newcomer how to send the first event: where to, and whether a key is asked for."""

from __future__ import annotations

from flask import current_app

from app.admin.blueprint import services


def known() -> dict[str, object]:
    """What `_first_event.html` needs."""
    return {"base_url": current_app.config["SETTINGS"].base_url, "needs_key": services().admission.needs_key}
