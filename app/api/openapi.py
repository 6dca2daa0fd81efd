"""`/openapi.json`: description of the API, generated from the URL map, the schemas and `documentation`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from apispec import APISpec
from flask import Blueprint, Flask, Response, current_app
from werkzeug.routing import Rule

from app.api import docs, documentation, documented
from app.api.json_schema import Plugin
from app.api.responses import answer
from app.schemas import response_schemas
from app.schemas.events import BatchSchema
from app.support.paths import is_api
from app.version import VERSION

blueprint = Blueprint("openapi", __name__)
EXTENSION = "openapi"
IMPLIED = {"HEAD", "OPTIONS"}  # methods that Flask handles itself
CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")


@blueprint.get("/openapi.json")
def document() -> Response:
    """Describe the API, as OpenAPI 3.1."""
    if EXTENSION not in current_app.extensions:
        current_app.extensions[EXTENSION] = describe(current_app)
    return answer(current_app.extensions[EXTENSION])


def describe(app: Flask) -> dict[str, object]:
    """Return the OpenAPI document of an application."""
    spec = APISpec(
        "Tally",
        VERSION,
        "3.1.0",
        plugins=[Plugin()],
        info={"description": documentation.ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": app.config["SETTINGS"].base_path or "/"}],
        tags=[{"name": name, "description": words} for name, words in documentation.TAGS.items()],
    )
    gate, settings = app.extensions["services"].admission, app.config["SETTINGS"]
    asked = {"needs_key": gate.needs_key, "needs_token": bool(settings.metrics_token)}
    _add_components(spec, settings.max_batch_events, needs_token=asked["needs_token"])
    for rule, method in _routes(app):
        if rule.endpoint in documentation.OPERATIONS:
            told = documentation.operation(rule.endpoint, is_limited=gate.is_limited, **asked)
            operation = _operation(told, rule, method, app.view_functions[rule.endpoint])
            spec.path(CONVERTER.sub(r"{\1}", rule.rule), operations={method: operation})
    return spec.to_dict()


def _add_components(spec: APISpec, limit: int, *, needs_token: bool) -> None:
    components = spec.components
    components.security_scheme("Basic", {"type": "http", "scheme": "basic"})
    for name, scheme in documented.KEY_SCHEMES.items():
        components.security_scheme(name, scheme)
    if needs_token:
        components.security_scheme("Token", documented.TOKEN_SCHEME)
    components.schema("Error", schema=response_schemas.ErrorSchema)
    components.schema("Errors", {"type": "array", "items": "Error", "minItems": 1, "maxItems": 1})
    components.schema("Batch", schema=BatchSchema(limit))
    bare = components.schemas["Batch"]["properties"]["events"]
    components.schema("Events", {"anyOf": ["Batch", bare]})
    for name, header in documented.HEADERS.items():
        components.header(name, header)
    for name, parameter in documented.PARAMETERS.items():
        components.parameter(name, parameter["in"], parameter)
    for status, response in documented.ERRORS.items():
        components.response(status, _with_headers(response))


def _routes(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Yield the API's routes with each of their methods."""
    for rule in app.url_map.iter_rules():
        if is_api(rule.rule):
            yield from ((rule, method.lower()) for method in sorted(rule.methods - IMPLIED))


def _operation(operation: documented.Told, rule: Rule, method: str, view: object) -> dict[str, object]:
    """Return the operation of a route, with `errors` and `basic` of its description converted to responses."""
    responses = {status: _with_headers(response) for status, response in operation.pop("responses").items()}
    errors = sorted({*operation.pop("errors"), "400", "500"})  # every route rejects unknown parameters
    parameters = [*sorted(rule.arguments), *operation.pop("parameters", []), "X-Request-ID"]
    if operation.pop("basic", False):
        operation["security"] = [{"Basic": []}]
        errors = sorted({*errors, "401", "403"})
        responses = {"429": _with_headers(documented.DOOR_ERROR)} | responses
    return {
        "summary": inspect.getdoc(view).splitlines()[0].rstrip("."),
        "operationId": "_".join([method, *re.findall(r"\w+", rule.rule)]),
        **operation,
        "parameters": parameters,
        "responses": responses | {status: status for status in sorted(errors)},
    }


def _with_headers(response: dict[str, object]) -> dict[str, object]:
    """Return a response with the headers that every response has."""
    headers = response.get("headers", {}) | {name: name for name in documented.COMMON_HEADERS}
    return response | {"headers": headers}


def register_docs(app: Flask) -> None:
    """Add `/docs`, the page that displays the document."""
    docs.register(app)
