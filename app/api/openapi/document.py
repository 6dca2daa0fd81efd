"""`/openapi.json`: description of the API, from the URL map, the schemas and the declarations of the routes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

from apispec import APISpec
from flask import Blueprint, Flask, Response, current_app
from werkzeug.routing import Rule

from app.api.openapi import components
from app.api.openapi.json_schema import Plugin
from app.api.openapi.operations import OPERATIONS, JsonObject, Operation, described
from app.api.openapi.response_schemas import SCHEMAS, derive
from app.api.query import FILTER, MORE
from app.api.responses import JsonResponse
from app.schemas.events import BatchSchema
from app.schemas.reports import EventFilterSchema, FilterSchema, OutputSchema
from app.services.people.principal import scope_of
from app.support.paths import is_api
from app.version import VERSION

blueprint = Blueprint("openapi", __name__)
EXTENSION = "openapi"
CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")


@blueprint.get("/openapi.json")
@Operation("service", {"200": described("This document.", {"type": "object"})})
def document() -> Response:
    """Describe the API, as OpenAPI 3.1."""
    if EXTENSION not in current_app.extensions:
        current_app.extensions[EXTENSION] = describe(current_app)
    return JsonResponse(current_app.extensions[EXTENSION])


def describe(app: Flask) -> JsonObject:
    """Return the OpenAPI document of an application."""
    settings, admission = app.config["SETTINGS"], app.extensions["services"].admission
    spec = APISpec(
        "Tally",
        VERSION,
        "3.1.0",
        plugins=[Plugin()],
        info={"description": components.ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": settings.base_path or "/"}],
        tags=[{"name": name, "description": words} for name, words in components.TAGS.items()],
    )
    _add_components(spec, settings.max_batch_events, needs_token=bool(settings.metrics_token))
    for rule in app.url_map.iter_rules():
        if not is_api(rule.rule) or (declared := OPERATIONS.get(app.view_functions[rule.endpoint])) is None:
            continue
        summary = (inspect.getdoc(app.view_functions[rule.endpoint]) or "").splitlines()[0].rstrip(".")
        special: JsonObject = {}
        responses, errors = dict(declared.responses), {*declared.errors}
        if rule.endpoint == "events.record":
            keys: list[JsonObject] = [{scheme: []} for scheme in components.KEY_SCHEMES]
            special["security"] = keys if admission.needs_key else [{}, *keys]
            responses |= {"401": components.KEY_UNAUTHORIZED, "403": components.KEY_FORBIDDEN}
            errors |= {"429"} if admission.is_limited else set()
        if rule.endpoint == "metrics.metrics" and settings.metrics_token:
            special["security"] = [{"Token": []}]
            responses["401"] = components.TOKEN_UNAUTHORIZED
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):  # which Flask handles itself
            name = "_".join([method.lower(), *re.findall(r"\w+", rule.rule)])
            described_operation = {
                "summary": summary,
                "operationId": name,
                **_describe(declared, rule, responses, errors),
                **_security(declared, method),
                **special,
            }
            spec.path(CONVERTER.sub(r"{\1}", rule.rule), operations={method.lower(): described_operation})
    return spec.to_dict()


def _add_components(spec: APISpec, max_events: int, *, needs_token: bool) -> None:
    parts = spec.components
    parts.security_scheme("Basic", components.BASIC_SCHEME)
    parts.security_scheme("ApiToken", components.API_TOKEN_SCHEME)
    for name, scheme in components.KEY_SCHEMES.items():
        parts.security_scheme(name, scheme)
    if needs_token:
        parts.security_scheme("Token", components.TOKEN_SCHEME)
    parts.schema("Batch", schema=BatchSchema(max_events))
    parts.schema("Events", {"anyOf": ["Batch", parts.schemas["Batch"]["properties"]["events"]]})
    parts.schema("Filter", schema=FilterSchema)
    parts.schema("Output", schema=OutputSchema)
    sent = (parts.schemas[name]["properties"] for name in ("Event", "Filter", "Output"))
    for name, schema in (SCHEMAS | derive(*sent)).items():
        parts.schema(name, schema)
    for name, header in components.HEADERS.items():
        parts.header(name, header)
    for name, parameter in components.PARAMETERS.items():
        parts.parameter(name, str(parameter["in"]), parameter)
    for status, response in components.ERRORS.items():
        parts.response(status, _with_headers(response))


def _security(declared: Operation, method: str) -> JsonObject:
    """Return the credentials of an operation, and the scope that an API token needs for it."""
    if declared.permission is None:
        return {}
    scopes = [scope_of(declared.permission, method)] if declared.permission else []
    return {"security": [{"Basic": []}, {"ApiToken": scopes}]}


def _describe(declared: Operation, rule: Rule, responses: Mapping[str, JsonObject], errors: set[str]) -> JsonObject:
    sent = declared.query or ()
    schema, fields = (EventFilterSchema, (*FILTER, *MORE)) if set(MORE) <= {*sent} else (FilterSchema, FILTER)
    query: list[object] = [name for name in sent if name in components.PARAMETERS and name not in fields]
    if of_filter := [name for name in fields if name in sent]:
        query.insert(0, {"in": "query", "schema": schema(partial=True, only=of_filter)})
    errors |= {"400", "500"}  # every route rejects unknown parameters
    described_operation: JsonObject = {"tags": [declared.tag]}
    described_operation |= {"description": declared.description} if declared.description else {}
    described_operation |= {"requestBody": declared.body} if declared.body else {}
    if declared.permission is not None:
        errors |= {"401", "403"}
        responses = {"429": components.LOGIN_ERROR, **responses}
    described_operation["parameters"] = [*sorted(rule.arguments), *query, *declared.parameters, "X-Request-ID"]
    own = {status: _with_headers(response) for status, response in responses.items()}
    return described_operation | {"responses": own | {status: status for status in sorted(errors)}}


def _with_headers(response: JsonObject) -> JsonObject:
    """Return a response with the headers that every response has."""
    headers = response.get("headers")
    own = headers if isinstance(headers, dict) else {}
    return response | {"headers": own | {name: name for name in components.COMMON_HEADERS}}
