"""JSON API: its blueprints. A view loads the request, calls a service and responds; `errors` handles errors."""

from __future__ import annotations

from flask import Flask

from app.api import body, cors, errors, events, files, health, metrics, openapi, query, reports, service


def register(app: Flask) -> None:
    """Add the API to the application."""
    for module in (events, reports, files, service, health, metrics, openapi):
        app.register_blueprint(module.blueprint)
    openapi.register_docs(app)
    cors.register(app)
    app.before_request(query.check_parameters)
    body.register(app)
    errors.register(app)
