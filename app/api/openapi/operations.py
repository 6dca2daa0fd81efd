"""Declare a route of the API beside its view: who may call it, which parameters it takes, and how it responds.

`check_parameters` and `/openapi.json` read the declarations. The path, the method and the summary (the view's
docstring) come from Flask.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec

from marshmallow import Schema
from werkzeug.wrappers import Response

from app.auth import basic, need

JsonObject = dict[str, object]
View = Callable[..., object]
Arguments = ParamSpec("Arguments")

# Media types of a report's file: those of its format, or of its compression.
FILE_TYPES = "text/csv application/x-ndjson application/vnd.apache.parquet application/gzip application/zstd"


@dataclass(frozen=True)
class Operation:
    """Declaration of a route, the decorator of its view.

    Attributes:
        permission: what the caller's role must permit; empty for any user, None for everyone.
        responses: its own responses, by status.
        errors: the statuses of its other errors, besides 400, 500 and those of the credentials.
        query: the query parameters that it takes, or None if the view checks them itself.
        parameters: names of other parameters, or parameters that are only described.
    """

    tag: str
    responses: Mapping[str, JsonObject]
    errors: Sequence[str] = ()
    permission: str | None = None
    query: Sequence[str] | None = ()
    parameters: Sequence[str] = ()
    description: str = ""
    body: JsonObject = field(default_factory=dict)

    def __call__(self, view: Callable[Arguments, Response]) -> Callable[Arguments, Response]:
        """Declare the route of a view. Credentials and the permission are checked before the view is called."""

        @functools.wraps(view)
        def permitted(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Response:
            if self.permission:
                need(self.permission)
            return view(*args, **kwargs)

        guarded = view if self.permission is None else basic.login_required(permitted)
        OPERATIONS[guarded] = self
        return guarded


OPERATIONS: dict[View, Operation] = {}


def described(words: str, schema: str | JsonObject, *headers: str) -> JsonObject:
    """Return the description of a JSON response."""
    return {
        "description": words,
        "headers": {name: name for name in headers},
        "content": {"application/json": {"schema": schema}},
    }


def described_file(words: str) -> JsonObject:
    """Return the description of a report's file, or of a part of it."""
    content = {kind: {"schema": {"type": "string"}} for kind in FILE_TYPES.split()}
    return {
        "description": words,
        "headers": {name: name for name in ("Content-Disposition", "ETag")},
        "content": content,
    }


def described_redirect(words: str) -> JsonObject:
    """Return the description of a redirect."""
    return {"description": words, "headers": {"Location": "Location"}, "content": {"text/html": {}}}


def described_body(schema: str | type[Schema], examples: Mapping[str, object], **others: JsonObject) -> JsonObject:
    """Return the description of a JSON body, and of the text/plain that browser beacons send with the same JSON.

    The API also accepts the media type of a form as JSON, but a tool that reads this document would send a form.
    """
    name = schema if isinstance(schema, str) else schema.__name__.removesuffix("Schema")
    reference = {"$ref": f"#/components/schemas/{name}"}
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": reference}
    as_text = {name: {"value": json.dumps(value)} for name, value in examples.items()}
    content: JsonObject = {
        "application/json": {"schema": schema, "examples": {name: {"value": examples[name]} for name in examples}},
        "text/plain": {"schema": text, "examples": as_text},
    }
    return {"required": True, "content": content | others}
