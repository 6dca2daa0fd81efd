"""Tally: records what people do in software, and hands the raw events back."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from flask import Flask

from app import admin, api, auth, cli
from app.application import Tally
from app.config import Settings
from app.ops import logs, requests
from app.services import build
from app.store.database import open_database, release


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application, which neither connects to anything nor writes anything before the first request.

    Args:
        settings: None means to read them from the environment and `.env`.

    Raises:
        SettingInvalid: a setting is wrong.
    """
    settings = settings or Settings.from_environment()
    app = Tally(__name__, template_folder=_folder("templates"), static_folder=_folder("static"))
    app.config["SETTINGS"] = settings
    app.json.sort_keys = False
    app.body_seconds = settings.body_seconds
    app.hosts = settings.trusted_hosts
    app.stand_under(settings.base_path)
    app.stand_behind(settings.trusted_proxies)
    logs.configure(settings.log_format)
    open_database(settings.database)
    app.extensions["services"] = build(settings)
    app.note = app.extensions["services"].meter.note
    app.teardown_appcontext(lambda error: release())
    requests.register(app)
    auth.register(app)
    api.register(app)
    admin.register(app)
    cli.register(app)
    return app


def _folder(name: str) -> str:
    """A folder that stands beside the package in a checkout, and under share/tally where it was installed."""
    checkout = Path(__file__).parent.parent / name
    return str(checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / "share" / "tally" / name)
