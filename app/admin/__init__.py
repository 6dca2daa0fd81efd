"""Dashboard: pages for people under `/admin/`, with a module for each page. They use the same services as the API."""

from __future__ import annotations

from flask import Flask, redirect, url_for
from flask_bootstrap import Bootstrap5
from werkzeug.routing import IntegerConverter
from werkzeug.wrappers import Response

from app.admin import (
    access,
    alerts,
    catalog,
    errors,
    events,
    headers,
    icons,
    navigation,
    notifications,
    operations,
    people,
    reports,
    schedules,
    states,
    template_filters,
    zones,
)
from app.admin.blueprint import blueprint, csrf

# These packages add their pages to the blueprint.
__all__ = [
    "access",
    "alerts",
    "catalog",
    "events",
    "notifications",
    "operations",
    "people",
    "register",
    "reports",
    "schedules",
]


def register(app: Flask) -> None:
    """Register the dashboard's pages, and redirect `/` to them."""
    app.config |= {
        "BOOTSTRAP_SERVE_LOCAL": True,
        "WTF_CSRF_CHECK_DEFAULT": False,  # the blueprint checks its own requests; the API has no cookies to abuse
        "WTF_CSRF_SSL_STRICT": False,  # the blueprint checks more than the referrer, which may be missing
        "WTF_CSRF_TIME_LIMIT": None,  # a token is valid as long as its session
        "MAX_FORM_MEMORY_SIZE": 4_000_000,  # bytes: a rejected event may have a million characters
    }
    app.jinja_options = app.jinja_options | {"trim_blocks": True, "lstrip_blocks": True}
    Bootstrap5(app)
    csrf.init_app(app)
    app.url_map.converters["int"] = Id
    app.register_blueprint(blueprint)
    app.add_url_rule("/", "home", home)
    for module in (template_filters, states, zones, events.chart, people.single_sign_on, icons, navigation, headers):
        module.register(app)
    errors.register(app)


class Id(IntegerConverter):
    """Id in a path: up to 18 ASCII digits, because Python accepts digits of any script and databases limit integers."""

    regex = "[0-9]{1,18}"


def home() -> Response:
    """Redirect `/` to the dashboard."""
    return redirect(url_for("admin.overview"))
