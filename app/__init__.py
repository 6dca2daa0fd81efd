"""Tally: records usage events of software, and returns the raw events in reports.

The factory imports what it needs when it is called, because workers and the scheduler need neither Flask nor the pages.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING
from wsgiref.types import WSGIApplication

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings

# Loading modules creates many permanent objects. With Python's default threshold, garbage collection takes a sixth of a
# process's start.
gc.set_threshold(10_000, 20, 10)


def create_app(settings: Settings | None = None, *, routes: bool = True) -> Flask:
    """Build the application, which neither connects to anything nor writes anything before the first request.

    Args:
        settings: None means to read them from the environment and `.env`.
        routes: whether it serves requests. The commands of `tally` need only its context.

    Raises:
        SettingInvalid: a setting is wrong.
    """
    from flask import Flask

    from app.config import Settings
    from app.ops import logs
    from app.services import start
    from app.store.database import release
    from app.support.shipped import shipped

    settings = settings or Settings.from_environment()
    app = Flask(__name__, template_folder=shipped("templates"), static_folder=shipped("static"))
    app.config["SETTINGS"] = settings
    logs.configure(settings.log_format)
    app.extensions["services"] = start(settings)
    app.teardown_appcontext(lambda error: release())
    if routes:
        _add_routes(app, settings)
    return app


def _add_routes(app: Flask, settings: Settings) -> None:
    from flask.json.provider import DefaultJSONProvider

    from app import admin, api, auth, cli
    from app.hot_path import HotPath
    from app.ops import access_log, hosts, proxies, requests
    from app.ops.lazy_rule import LazyRule

    app.url_rule_class = LazyRule
    app.json = DefaultJSONProvider(app)
    app.json.sort_keys = False
    auth.register(app)
    api.register(app)
    hosts.register(app, settings.trusted_hosts)
    admin.register(app)
    cli.register(app)
    requests.register(app, app.extensions["services"].request_metrics.note)
    inner: WSGIApplication = HotPath(app) if settings.hot_path else app.wsgi_app
    if settings.access_log:
        access_log.register(app, auth.describe_caller)
        inner = access_log.wrap(inner)
    inner = proxies.behind(proxies.below(inner, settings.base_path), settings.trusted_proxies)
    inner = requests.receive(inner, settings.body_seconds)
    app.wsgi_app = inner  # type: ignore[method-assign, assignment]  # Flask's own way to add a middleware
