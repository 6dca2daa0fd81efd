"""The limit of the web server: a Flask route that parses a body and returns it.

Served by the same server with as many processes and threads as the service, it shows how much of HTTP's own speed the
service reaches.
"""

from __future__ import annotations

import orjson
from flask import Flask, Response, request


def create_app() -> Flask:
    """Return the application with its one route."""
    app = Flask(__name__)

    @app.post("/events")
    def echo() -> Response:
        body = request.get_data(cache=False)
        return Response(orjson.dumps(orjson.loads(body)), content_type="application/json")

    return app
