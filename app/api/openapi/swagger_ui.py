"""`/docs`: Swagger UI for `/openapi.json`, served entirely from this server.

Its page is `templates/index.template.html`, which precedes the one of the same name in `flask_swagger_ui`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

from flask import Flask, Response
from flask_swagger_ui import get_swaggerui_blueprint

PATH = "/docs"
DOCUMENT = "/openapi.json"
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; script-src 'self'"
)
# The only inline script of Swagger UI's page is allowed by its hash. It is the same for every request, because it
# contains no request data, not even in the OAuth address.
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
CONFIG: dict[str, object] = {
    "app_name": "Tally's API",
    "layout": "BaseLayout",  # without the bar that loads other documents
    "validatorUrl": None,  # disables the badge from another host
    "displayRequestDuration": True,
}


def register(app: Flask) -> None:
    """Add the page to the application. Its links are below the path under which clients reach the service."""
    base = app.config["SETTINGS"].base_path
    config = CONFIG | {"oauth2RedirectUrl": f"{base}{PATH}/oauth2-redirect.html"}
    blueprint = get_swaggerui_blueprint(base + PATH, base + DOCUMENT, config=config)

    @blueprint.after_request
    def guard(response: Response) -> Response:
        is_page = response.mimetype == "text/html" and not response.direct_passthrough
        scripts = INLINE.findall(response.get_data()) if is_page else []
        hashes = [f" 'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts]
        response.headers["Content-Security-Policy"] = POLICY + "".join(hashes)
        return response

    app.register_blueprint(blueprint, url_prefix=PATH)
