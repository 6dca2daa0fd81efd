"""The places of the left bar, and what every template knows."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, g, request

from app.services.clock import now


@dataclass(frozen=True)
class Place:
    """An entry of the left bar.

    Attributes:
        pages: the endpoints during which the place is the current one; the first is where it leads.
        permission: what only some may do there; others do not see the place.
    """

    word: str
    icon: str
    pages: tuple[str, ...]
    permission: str | None = None


PLACES = (
    Place("Overview", "grid-1x2", ("admin.overview",)),
    Place(
        "Reports",
        "file-earmark-arrow-down",
        ("admin.reports", "admin.report", "admin.new_report", "admin.start_report"),
    ),
    Place(
        "Rejected",
        "slash-circle",
        ("admin.rejected", "admin.rejected_event", "admin.send_again", "admin.remove_rejected"),
        "system",
    ),
    Place(
        "Catalog",
        "card-list",
        (
            "admin.catalog",
            "admin.entry",
            "admin.change_entry",
            "admin.new_entry",
            "admin.add_entry",
            "admin.remove_entry",
            "admin.choose_document",
            "admin.import_document",
        ),
    ),
    Place("Keys", "key", ("admin.keys", "admin.new_key", "admin.add_key", "admin.revoke_key"), "keys"),
)


def register(app: Flask) -> None:
    """Tell the templates."""
    app.context_processor(_known)


def _known() -> dict[str, object]:
    here = next((place for place in PLACES if request.endpoint in place.pages), None)
    who = g.get("principal")
    places = [place for place in PLACES if place.permission is None or (who and who.may(place.permission))]
    return {"places": places, "here": here, "principal": who, "now": now()}
