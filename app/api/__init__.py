"""JSON API: its blueprints. A view loads the request, calls a service and responds; `errors` handles errors."""

from __future__ import annotations

from flask import Flask

from app.api import body, cors, counts, errors, events, files, health, metrics, query, reports, script, service
from app.api.openapi import document, swagger_ui


def register(app: Flask) -> None:
    """Add the API to the application."""
    for module in (events, counts, reports, files, script, service, health, metrics, document):
        app.register_blueprint(module.blueprint)
    swagger_ui.register(app)
    cors.register(app)
    app.before_request(query.check_parameters)
    body.register(app)
    errors.register(app)
