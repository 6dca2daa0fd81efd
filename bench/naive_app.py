"""Baseline: the same route as most would write it first, correct and durable, without optimization.

Flask's `get_json`, a marshmallow schema with `many=True`, Peewee's `insert_many` in a transaction, `jsonify`; pooled
connections on PostgreSQL, one per thread on SQLite. It writes to the service's own table.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence

import peewee
from flask import Flask, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate
from playhouse.pool import PooledPostgresqlDatabase
from playhouse.postgres_ext import ArrayField

LATEST = 253_402_300_799_999
POOL = 20  # connections of one process, as many as the service has; a thread waits if all are in use
WAIT_SECONDS = 60  # for a connection, or for SQLite's write lock


class EventSchema(Schema):
    """A sent event."""

    class Meta:
        """Ignores other keys, as the service does."""

        unknown = EXCLUDE

    customer = fields.String(required=True, validate=validate.Length(1, 128))
    product = fields.String(required=True, validate=validate.Length(1, 128))
    type = fields.String(required=True, validate=validate.Length(1, 128))
    version = fields.String(validate=validate.Length(max=64))
    timestamp = fields.Integer(required=True, validate=validate.Range(0, LATEST))
    context = fields.List(
        fields.String(allow_none=True, validate=validate.Length(max=4096)),
        required=True,
        validate=validate.Length(max=100),
    )


class ContextField(peewee.TextField):
    """A context on SQLite as JSON text."""

    def db_value(self, value: Sequence[str | None]) -> str:
        """Return the value for the driver."""
        return json.dumps(value)


def event_model(database: peewee.Database) -> type[peewee.Model]:
    """Return the model of the service's table on that database."""
    on_postgres = isinstance(database, peewee.PostgresqlDatabase)

    class Event(peewee.Model):
        id = peewee.BigAutoField()
        customer = peewee.TextField()
        product = peewee.TextField()
        type = peewee.TextField()
        version = peewee.TextField(null=True)
        timestamp = peewee.BigIntegerField()
        context = ArrayField(peewee.TextField, index=False) if on_postgres else ContextField()
        sequence = peewee.IntegerField()
        batch = peewee.UUIDField() if on_postgres else peewee.TextField()
        received = peewee.BigIntegerField()

    Event.bind(database)
    return Event


def open_database(url: str) -> peewee.Database:
    """Return a plain Peewee database for a URL."""
    if url.startswith("sqlite"):
        pragmas = {"journal_mode": "wal", "synchronous": "full"}
        return peewee.SqliteDatabase(
            url.removeprefix("sqlite:///"), pragmas=pragmas, timeout=WAIT_SECONDS, lock_type="IMMEDIATE"
        )
    return PooledPostgresqlDatabase(url, max_connections=POOL, timeout=WAIT_SECONDS, prefer_psycopg3=True)


def create_app() -> Flask:
    """Return the application over the database named by DATABASE_URL."""
    app = Flask(__name__)
    app.json.sort_keys = False
    database = open_database(os.environ["DATABASE_URL"])
    event = event_model(database)
    schema = EventSchema(many=True)

    @app.post("/events")
    def post_events() -> Response | tuple[Response, int]:
        try:
            events = schema.load(request.get_json()["events"])
        except ValidationError as error:
            return jsonify(error.messages), 400
        batch, received = str(uuid.uuid4()), time.time_ns() // 1_000_000
        stored = [item | {"sequence": i, "batch": batch} for i, item in enumerate(events, 1)]
        with database.atomic():
            event.insert_many(
                [item | {"version": item.get("version"), "received": received} for item in stored]
            ).execute()
        return jsonify(stored)

    @app.before_request
    def connect() -> None:
        if database.is_closed():
            database.connect()

    @app.teardown_request
    def give_back(error: BaseException | None) -> None:
        if isinstance(database, PooledPostgresqlDatabase) and not database.is_closed():
            database.close()

    return app
