"""Descriptions of routes: the part of `/openapi.json` that neither the schemas nor the URL map contain.

A route is identified by its endpoint; its path, method and summary (the view's docstring) come from Flask. Parts that
several routes share are in `documented`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy

from app.api.body import LINES_TYPE
from app.api.documented import (
    KEY_FORBIDDEN,
    KEY_SCHEMES,
    KEY_UNAUTHORIZED,
    LINK_ERROR,
    PLACES_ERROR,
    RANGE_ERROR,
    TOKEN_UNAUTHORIZED,
    Told,
)
from app.schemas import response_schemas
from app.schemas.reports import FilterSchema, ReportRequestSchema

ABOUT = (
    "Products send usage events to `POST /events`; analysts and their tools fetch them back as reports.\n\n"
    "Times are whole milliseconds since 1970-01-01T00:00:00Z, days are UTC. A string has neither NUL characters nor "
    "lone surrogates. Every error but 401 is an array with one tree of `value` (a code for programs, a message for "
    "people) and `children`. A path that is not here is answered 404 with the code `REQUEST_NOT_FOUND`, a method that "
    "is not here 405 with `REQUEST_METHOD_NOT_ALLOWED`."
)
TAGS = {
    "events": "What happened in the products.",
    "reports": "Events, exported to a file.",
    "service": "What this service is, and who the caller is to it.",
    "health": "For whoever keeps the service running.",
}

EVENT = {
    "customer": "BARCHART",
    "product": "PORTFOLIO",
    "type": "PORTFOLIO-APPLICATION-LOADED",
    "timestamp": 1793000000000,
    "context": ["user-1", "Overview", None],
}
OTHER_EVENT = EVENT | {"type": "PORTFOLIO-VIEW-OPENED", "timestamp": 1793000000250, "version": "4.2.0"}
REPORT = {
    "filter": {"customer": "BARCHART", "product": "PORTFOLIO", "start": 1793000000000, "end": "1795591999999"},
    "output": {"delimiter": "|", "header": True},
}


# Media types of a report's file: those of its format, or of its compression.
FILE_TYPES = (
    "text/csv",
    "application/x-ndjson",
    "application/vnd.apache.parquet",
    "application/gzip",
    "application/zstd",
)


def _answer(words: str, schema: object, headers: Iterable[str] = ()) -> Told:
    named = {name: name for name in headers}
    return {"description": words, "headers": named, "content": {"application/json": {"schema": schema}}}


def _file(words: str) -> Told:
    return {
        "description": words,
        "headers": {"Content-Disposition": "Content-Disposition", "ETag": "ETag"},
        "content": {kind: {"schema": {"type": "string"}} for kind in FILE_TYPES},
    }


def _body(schema: str | type, examples: dict[str, object], **others: Told) -> Told:
    """Describe a request body as JSON, and as the text/plain that browser beacons send, which holds the same JSON.

    The API also accepts the media type of a form as JSON, but a tool that reads this document would send a form.
    """
    shown = {name: {"value": value} for name, value in examples.items()}
    as_text = {name: {"value": json.dumps(value)} for name, value in examples.items()}
    name = schema if isinstance(schema, str) else schema.__name__.removesuffix("Schema")
    text = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"#/components/schemas/{name}"},
    }
    content = {
        "application/json": {"schema": schema, "examples": shown},
        "text/plain": {"schema": text, "examples": as_text},
    }
    return {"required": True, "content": content | others}


LINES: Told = {
    "schema": {"type": "string", "contentMediaType": LINES_TYPE, "description": "One event a line."},
    "examples": {"lines": {"value": f"{json.dumps(EVENT)}\n{json.dumps(OTHER_EVENT)}\n"}},
}
JOB_ANSWER = _answer("The report.", response_schemas.JobSchema)
VERSION_ANSWER = _answer("The version.", response_schemas.VersionSchema)
NUMBERS_ANSWER: Told = {
    "description": "Prometheus's text format, version 0.0.4.",
    "content": {"text/plain; version=0.0.4; charset=utf-8": {"schema": {"type": "string"}}},
}

# `errors` are statuses of ERRORS in addition to 400 and 500. `basic` adds 401, 403 and 429. `responses` override both.
OPERATIONS: dict[str, Told] = {
    "events.record": {
        "tags": ["events"],
        "description": "200 means committed: on disk. One invalid event, and nothing is stored; with `Prefer: "
        "handling=lenient` the valid ones are, and `sequence` is their place in the request.",
        "parameters": ["Content-Encoding", "Idempotency-Key", "Prefer"],
        "requestBody": _body(
            "Events", {"object": {"events": [EVENT, OTHER_EVENT]}, "array": [EVENT], "empty": []}, **{LINES_TYPE: LINES}
        ),
        "responses": {
            "200": _answer(
                "The events as stored, in the order sent.",
                {"type": "array", "items": response_schemas.StoredEventSchema},
                ("Preference-Applied", "X-Rejected-Events", "Idempotency-Replayed", "X-Ignored-Fields"),
            )
        },
        "errors": ["400", "413", "415", "422", "503"],
    },
    "events.index": {
        "tags": ["events"],
        "basic": True,
        "parameters": [{"in": "query", "schema": FilterSchema(partial=True)}, "limit", "after"],
        "responses": {"200": _answer("A page of events.", response_schemas.EventPageSchema)},
        "errors": ["400", "403", "503"],
    },
    "reports.start": {
        "tags": ["reports"],
        "basic": True,
        "parameters": ["Content-Encoding"],
        "requestBody": _body(ReportRequestSchema, {"report": REPORT}),
        "responses": {"200": _answer("The report.", response_schemas.JobSchema, ("X-Ignored-Fields",))},
        "errors": ["400", "403", "413", "415", "503"],
    },
    "reports.index": {
        "tags": ["reports"],
        "basic": True,
        "parameters": ["status", "limit", "after"],
        "responses": {"200": _answer("A page of reports.", response_schemas.JobPageSchema)},
        "errors": ["400", "503"],
    },
    "reports.availability": {
        "tags": ["reports"],
        "basic": True,
        "responses": {"200": JOB_ANSWER},
        "errors": ["404", "503"],
    },
    "reports.show_progress": {
        "tags": ["reports"],
        "basic": True,
        "responses": {"200": _answer("What is known so far.", response_schemas.ProgressSchema)},
        "errors": ["404", "503"],
    },
    "reports.fetch": {
        "tags": ["reports"],
        "basic": True,
        "description": "`Accept` decides: 200 where it allows `application/json`, else 302.",
        "responses": {
            "200": _answer("Where the file is.", response_schemas.LinkSchema),
            "302": {"description": "The same link.", "headers": {"Location": "Location"}, "content": {"text/html": {}}},
        },
        "errors": ["404", "409", "410", "503"],
    },
    "reports.retry": {
        "tags": ["reports"],
        "basic": True,
        "description": "A report that failed, timed out or was cancelled runs again, with the snapshot that it had.",
        "responses": {"200": JOB_ANSWER},
        "errors": ["404", "409", "503"],
    },
    "reports.delete": {
        "tags": ["reports"],
        "basic": True,
        "description": "Cancels a report that runs; removes the file of one that is complete. The report stays listed.",
        "responses": {"204": {"description": "It is done, or there was nothing to do."}},
        "errors": ["404", "503"],
    },
    "files.download": {
        "tags": ["reports"],
        "parameters": ["expires", "nonce", "signature", "Range", "If-None-Match"],
        "responses": {
            "200": _file("The whole file."),
            "206": _file("The part that `Range` asks for."),
            "302": {
                "description": "Where an S3 store has it, for a minute.",
                "headers": {"Location": "Location"},
                "content": {"text/html": {}},
            },
            "304": {"description": "The file that `If-None-Match` names."},
            "403": LINK_ERROR,
            "416": RANGE_ERROR,
            "429": PLACES_ERROR,
        },
        "errors": ["410", "503"],
    },
    "service.version": {"tags": ["service"], "responses": {"200": VERSION_ANSWER}, "errors": []},
    "service.authenticate": {
        "tags": ["service"],
        "basic": True,
        "responses": {"200": _answer("The caller.", response_schemas.AuthenticationSchema)},
        "errors": ["503"],
    },
    "health.live": {
        "tags": ["health"],
        "responses": {"200": _answer("It lives.", response_schemas.LiveSchema)},
        "errors": [],
    },
    "health.ready": {
        "tags": ["health"],
        "responses": {
            "200": _answer(
                "Events are accepted. What else is wrong stands among the checks.", response_schemas.ReadySchema
            ),
            "503": _answer("Events are refused, for these reasons.", response_schemas.ReadySchema),
        },
        "errors": [],
    },
    "metrics.metrics": {
        "tags": ["health"],
        "description": "Of the whole service, whichever process answers; nothing in it names a customer.",
        "responses": {"200": NUMBERS_ANSWER},
        "errors": [],
    },
    "openapi.document": {
        "tags": ["service"],
        "responses": {"200": _answer("This document.", {"type": "object"})},
        "errors": [],
    },
}


def operation(endpoint: str, *, needs_key: bool, is_limited: bool, needs_token: bool) -> Told:
    """Return a copy of a route's description, which the caller may change.

    Args:
        needs_key: whether `POST /events` requires an ingest key. Otherwise the key is optional.
        is_limited: whether the rate of requests is limited.
        needs_token: whether `GET /metrics` requires a token.
    """
    told = deepcopy(OPERATIONS[endpoint])
    if endpoint == "events.record":
        told["security"] = ([] if needs_key else [{}]) + [{scheme: []} for scheme in KEY_SCHEMES]
        told["responses"] |= {"401": KEY_UNAUTHORIZED, "403": KEY_FORBIDDEN}
    if endpoint == "events.record" and is_limited:
        told["errors"].append("429")
    if endpoint == "metrics.metrics" and needs_token:
        told["security"] = [{"Token": []}]
        told["responses"] |= {"401": TOKEN_UNAUTHORIZED}
    return told
