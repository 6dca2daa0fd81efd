"""Tally: records usage events of software, and returns the raw events in reports."""

from __future__ import annotations

from wsgiref.types import WSGIApplication

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from app import admin, api, auth, cli
from app.config import Settings
from app.hot_path import HotPath
from app.ops import hosts, logs, proxies, requests
from app.services import build
from app.store.database import open_database, release
from app.support.shipped import shipped


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application, which neither connects to anything nor writes anything before the first request.

    Args:
        settings: None means to read them from the environment and `.env`.

    Raises:
        SettingInvalid: a setting is wrong.
    """
    settings = settings or Settings.from_environment()
    app = Flask(__name__, template_folder=shipped("templates"), static_folder=shipped("static"))
    app.config["SETTINGS"] = settings
    app.json = DefaultJSONProvider(app)
    app.json.sort_keys = False
    logs.configure(settings.log_format)
    open_database(settings.database, settings.database_read_url)
    app.extensions["services"] = build(settings)
    app.teardown_appcontext(lambda error: release())
    auth.register(app)
    api.register(app)
    hosts.register(app, settings.trusted_hosts)
    admin.register(app)
    cli.register(app)
    requests.register(app, app.extensions["services"].request_metrics.note)
    inner: WSGIApplication = HotPath(app) if settings.hot_path else app.wsgi_app
    inner = proxies.behind(proxies.below(inner, settings.base_path), settings.trusted_proxies)
    inner = requests.receive(inner, settings.body_seconds)
    app.wsgi_app = inner  # type: ignore[method-assign, assignment]  # Flask's own way to add a middleware
    return app
