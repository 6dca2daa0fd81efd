"""The left bar, the theme, and the values that every template gets."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, g, request

from app.services.people.principal import Principal
from app.support.clock import now

THEME_COOKIE = "theme"  # set by static/theme.js; written into the page, so that none appears in the other theme first
THEMES = ("light", "dark")


@dataclass(frozen=True)
class NavigationItem:
    """Item of the left bar.

    Attributes:
        endpoint: the page that it links to.
        sections: first parts of the paths below `/admin/` for which the item is the current one.
        permission: the permission without which the item is hidden.
        unless: a permission with which the item is hidden, because another item includes its pages.
    """

    word: str
    icon: str
    endpoint: str
    sections: tuple[str, ...]
    permission: str | None = None
    unless: str | None = None

    def is_for(self, who: Principal | None) -> bool:
        if self.permission is None:
            return True
        return who is not None and who.may(self.permission) and not (self.unless and who.may(self.unless))


ITEMS = (
    NavigationItem("Overview", "grid-1x2", "admin.overview", ("",)),
    NavigationItem("Events", "list-ul", "admin.events", ("events",), "events"),
    NavigationItem("Explore", "bar-chart", "admin.explore", ("explore",), "events"),
    NavigationItem("Reports", "file-earmark-arrow-down", "admin.reports", ("reports",)),
    NavigationItem("Alerts", "bell", "admin.alerts", ("alerts",), "events"),
    NavigationItem("Rejected", "slash-circle", "admin.rejected", ("rejected",), "system"),
    NavigationItem("Catalog", "card-list", "admin.catalog", ("catalog",)),
    NavigationItem("People", "people", "admin.people", ("people", "tokens", "keys", "audit"), "users"),
    NavigationItem("System", "gear", "admin.system", ("system",), "system"),
    NavigationItem("Audit log", "journal-text", "admin.audit", ("audit",), "system", unless="users"),
)


def register(app: Flask) -> None:
    app.add_template_global(theme)
    app.context_processor(_shared_values)


def theme() -> str:
    """Return the chosen theme, or an empty string if it is the system's."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def _shared_values() -> dict[str, object]:
    who = g.get("principal")
    items = [item for item in ITEMS if item.is_for(who)]
    rule = request.url_rule if request.blueprint == "admin" else None
    section = rule.rule.split("/")[2] if rule else None
    here = next((item for item in items if section in item.sections), None)
    return {"items": items, "here": here, "principal": who, "now": now()}
