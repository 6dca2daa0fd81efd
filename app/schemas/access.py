"""Schema of the request for an ingest key."""

from __future__ import annotations

from marshmallow import Schema

from app.schemas.fields import Code, Codes


class KeySchema(Schema):
    """Name of a key, and the customers and products that it is limited to. An empty list means all."""

    name = Code(required=True)
    customers = Codes(required=True)
    products = Codes(required=True)
