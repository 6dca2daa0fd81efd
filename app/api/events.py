"""`POST /events`: products send their events here."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response, current_app

from app.api.answers import encoded
from app.api.body import read_events_body
from app.schemas.events import BatchSchema

blueprint = Blueprint("events", __name__)
_encoder = msgspec.json.Encoder()


@blueprint.post("/events")
def record() -> Response:
    """Store a batch, all of it or nothing, and answer the events as stored."""
    body, lines = read_events_body()
    schema = BatchSchema(current_app.config["SETTINGS"].max_batch_events)
    stored = current_app.extensions["services"].ingest.record(schema.load_body(body, lines=lines))
    return encoded(_encoder.encode(stored))
