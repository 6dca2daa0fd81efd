"""Items of the left bar, and the values that every template gets."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, g, request

from app.services.people.principal import Principal
from app.support.clock import now


@dataclass(frozen=True)
class NavigationItem:
    """Item of the left bar.

    Attributes:
        pages: the endpoints for which the item is the current one; the item links to the first.
        permission: the permission without which the item is hidden.
        unless: a permission with which the item is hidden, because another item includes its pages.
    """

    word: str
    icon: str
    pages: tuple[str, ...]
    permission: str | None = None
    unless: str | None = None

    def is_for(self, who: Principal | None) -> bool:
        """Return whether a user sees the item."""
        if self.permission is None:
            return True
        return who is not None and who.may(self.permission) and not (self.unless and who.may(self.unless))


PLACES = (
    NavigationItem("Overview", "grid-1x2", ("admin.overview",)),
    NavigationItem("Events", "list-ul", ("admin.events", "admin.event"), "events"),
    NavigationItem(
        "Reports",
        "file-earmark-arrow-down",
        (
            "admin.reports",
            "admin.report",
            "admin.report_link",
            "admin.new_report",
            "admin.start_report",
            "admin.ask_about_report",
            "admin.recurring",
            "admin.schedule",
            "admin.new_schedule",
            "admin.add_schedule",
            "admin.edit_schedule",
            "admin.change_schedule",
            "admin.remove_schedule",
            "admin.webhook_secret",
            "admin.renew_secret",
            "admin.delivery",
        ),
    ),
    NavigationItem(
        "Rejected",
        "slash-circle",
        (
            "admin.rejected",
            "admin.rejected_list",
            "admin.rejected_group",
            "admin.send_group",
            "admin.remove_group",
            "admin.rejected_event",
            "admin.send_again",
            "admin.remove_rejected",
            "admin.rejected_requests",
            "admin.rejected_request",
            "admin.send_request",
            "admin.remove_request",
        ),
        "system",
    ),
    NavigationItem(
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
    NavigationItem(
        "People",
        "people",
        (
            "admin.people",
            "admin.new_person",
            "admin.add_person",
            "admin.person",
            "admin.change_person",
            "admin.ask_password",
            "admin.reset_password",
            "admin.remove_person",
            "admin.end_person",
            "admin.keys",
            "admin.new_key",
            "admin.add_key",
            "admin.revoke_key",
            "admin.audit",
        ),
        "users",
    ),
    NavigationItem("System", "gear", ("admin.system", "admin.settings", "admin.versions"), "system"),
    NavigationItem("Audit log", "journal-text", ("admin.audit",), "system", unless="users"),
)


def register(app: Flask) -> None:
    """Add the navigation to the context of all templates."""
    app.context_processor(_known)


def _known() -> dict[str, object]:
    who = g.get("principal")
    places = [place for place in PLACES if place.is_for(who)]
    here = next((place for place in places if request.endpoint in place.pages), None)
    return {"places": places, "here": here, "principal": who, "now": now()}
