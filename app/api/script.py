"""`/tally.js`: the JavaScript client for pages."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from app.api.openapi.components import VERSION_ERROR
from app.api.openapi.operations import Operation
from app.support.browser_client import current, versions

blueprint = Blueprint("script", __name__)
MEDIA_TYPE = "text/javascript; charset=utf-8"
LATEST_SECONDS = 3600
VERSION_SECONDS = 365 * 24 * 3600


@blueprint.get("/tally.js")
@Operation(
    "events",
    {
        "200": {
            "description": "The client.",
            "headers": {"ETag": "ETag"},
            "content": {"text/javascript": {"schema": {"type": "string"}}},
        },
        "304": {"description": "The client that `If-None-Match` names."},
        "404": VERSION_ERROR,
    },
    query=("v",),
    parameters=("If-None-Match",),
)
def script() -> Response:
    """The JavaScript client as a module: the current one, or the one whose hash is `v`."""
    wanted = request.args.get("v")
    client = current() if wanted is None else versions().get(wanted)
    if client is None:
        abort(404)
    is_compressed = request.accept_encodings.quality("gzip") > 0
    response = Response(client.compressed if is_compressed else client.content, content_type=MEDIA_TYPE)
    if is_compressed:
        response.content_encoding = "gzip"
    response.vary.add("Accept-Encoding")
    response.set_etag(f"{client.hash}-gzip" if is_compressed else client.hash)
    response.cache_control.public = True
    response.cache_control.max_age = LATEST_SECONDS if wanted is None else VERSION_SECONDS
    response.cache_control.immutable = wanted is not None
    response.make_conditional(request)
    return response
