"""Schemas of the responses, for `/openapi.json`.

The responses are built without marshmallow (`events.StoredEvent`, `reports.job`, `progress.progress`, `api.service`),
because SDKs read some responses by position and marshmallow is slow. These schemas describe the responses, and tests
compare each response with its schema. An optional key is absent until its value is known.
"""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from app.schemas.events import EventSchema
from app.schemas.fields import MAX_CONTEXT_ITEMS, MAX_CONTEXT_TEXT, Time
from app.schemas.reports import STATUSES, FilterSchema, OutputSchema

MAX_CHILDREN = 101  # of an error: a hundred faults, then one that counts the rest

COUNT = validate.Range(min=0)
SOURCE = validate.Regexp("^JOB-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


class Exact(Schema):
    """Base schema of responses that have exactly the described keys."""

    class Meta:
        """See the class."""

        unknown = RAISE


class ErrorValueSchema(Exact):
    """What went wrong."""

    code = fields.String(required=True, metadata={"description": "For programs."})
    message = fields.String(required=True, metadata={"description": "For people."})


class ErrorSchema(Exact):
    """One node of an error's tree."""

    value = fields.Nested(ErrorValueSchema, required=True)
    children = fields.List(
        fields.Nested(lambda: ErrorSchema()),
        required=True,
        validate=validate.Length(max=MAX_CHILDREN),
        metadata={
            "description": "What is wrong in detail, a node for each fault; empty where there is nothing to add."
        },
    )


class UnauthorizedSchema(Exact):
    """The one error that is no tree."""

    message = fields.String(required=True, validate=validate.Equal("Unauthorized"))


class StoredEventSchema(EventSchema):
    """An event as it is stored."""

    class Meta(Exact.Meta):
        """See `Exact`."""

    context = fields.List(
        fields.String(allow_none=True, validate=validate.Length(max=MAX_CONTEXT_TEXT)),
        required=True,
        validate=validate.Length(max=MAX_CONTEXT_ITEMS),
        metadata={"description": "As sent; numbers and booleans have become their JSON text."},
    )
    sequence = fields.Integer(
        required=True, validate=validate.Range(min=1), metadata={"description": "Its place in the request, from 1."}
    )
    batch = fields.UUID(required=True, metadata={"description": "The same for a whole request."})


class FullEventSchema(StoredEventSchema):
    """An event as it is read back."""

    received = Time(required=True, metadata={"description": "When it was accepted, in milliseconds."})


class EventPageSchema(Exact):
    """Events, newest first."""

    events = fields.List(fields.Nested(FullEventSchema), required=True)
    next = fields.String(metadata={"description": "Send it as `after` to get what follows; absent on the last page."})


class JobFilterSchema(FilterSchema):
    """Which events the report has: what was sent, times as integers."""

    class Meta(Exact.Meta):
        """See `Exact`."""

    start = Time(metadata={"description": "The first millisecond.", "example": 1793000000000})
    end = Time(metadata={"description": "The last millisecond.", "example": 1795591999999})


class JobOutputSchema(OutputSchema):
    """What was sent; absent where nothing was."""

    class Meta(Exact.Meta):
        """See `Exact`."""


class JobTimingSchema(Exact):
    """When it was started, and when it ended."""

    day = fields.Date(required=True, metadata={"description": "The UTC day of the start."})
    start = Time(required=True, metadata={"description": "Milliseconds since 1970-01-01T00:00:00Z."})
    end = Time(metadata={"description": "Once it has ended."})


class JobSchema(Exact):
    """A report. Clients read it by position: the keys stand in this order."""

    job = fields.UUID(required=True)
    source = fields.String(required=True, validate=SOURCE, metadata={"description": "By which it is asked for."})
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    filter = fields.Nested(JobFilterSchema, required=True)
    timing = fields.Nested(JobTimingSchema, required=True)
    output = fields.Nested(JobOutputSchema)


class JobPageSchema(Exact):
    """Reports, newest first."""

    reports = fields.List(fields.Nested(JobSchema), required=True)
    next = fields.String(metadata={"description": "Send it as `after` to get what follows; absent on the last page."})


class ReportFileSchema(Exact):
    """A complete report's file."""

    rows = fields.Integer(required=True, validate=COUNT)
    bytes = fields.Integer(required=True, validate=COUNT)
    sha256 = fields.String(required=True, validate=validate.Regexp("^[0-9a-f]{64}$"))
    expires = Time(required=True, metadata={"description": "When the file is removed, in milliseconds."})


class ProgressSchema(Exact):
    """How far a report is."""

    rows = fields.Integer(validate=COUNT, metadata={"description": "Written so far."})
    total = fields.Integer(validate=COUNT, metadata={"description": "To be written; about, until it is complete."})
    percent = fields.Integer(
        validate=validate.Range(min=0, max=100), metadata={"description": "100: the file is there."}
    )
    eta_ms = fields.Integer(validate=COUNT, metadata={"description": "How long the rest will take, in milliseconds."})
    attempt = fields.Integer(validate=validate.Range(min=1), metadata={"description": "How often a worker took it."})
    queue_position = fields.Integer(
        validate=validate.Range(min=1), metadata={"description": "1: the next free worker takes it."}
    )
    rows_with_extra_context = fields.Integer(
        validate=COUNT, metadata={"description": "Rows with context items that no column takes: the file lacks those."}
    )
    file = fields.Nested(ReportFileSchema)


class LinkSchema(Exact):
    """Where a report's file is."""

    link = fields.String(
        required=True, metadata={"format": "uri", "description": "Works for 15 minutes, without credentials."}
    )


class AboutSchema(Exact):
    """This installation."""

    name = fields.String(required=True)
    description = fields.String(required=True)
    version = fields.String(required=True)
    environment = fields.String(required=True, metadata={"description": "The operator's name for it."})


class VersionSchema(Exact):
    """Which version answers."""

    version = fields.String(required=True)
    service = fields.Nested(AboutSchema, required=True)


class UserSchema(Exact):
    """The caller."""

    id = fields.String(required=True, metadata={"description": "The user's name."})
    context = fields.String(
        required=True, metadata={"description": "The user's customers, a comma between them; `*`: all customers."}
    )
    permissions = fields.String(
        required=True, allow_none=True, metadata={"description": "What the role may do, a comma between; or null."}
    )
    role = fields.String(required=True)
    customers = fields.List(
        fields.String(), required=True, allow_none=True, metadata={"description": "The same as a list; null: all."}
    )


class AuthenticationSchema(Exact):
    """Who the caller is to this service."""

    service = fields.Nested(AboutSchema, required=True)
    user = fields.Nested(UserSchema, required=True)


class LiveSchema(Exact):
    """The process answers."""

    status = fields.String(required=True, validate=validate.Equal("live"))


class ReadySchema(Exact):
    """Whether the service can do all of its work."""

    status = fields.String(required=True, validate=validate.OneOf(["ready", "unready"]))
    checks = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "Each thing looked at: `ok`, or what is wrong and what to do."},
    )
    reasons = fields.List(fields.String(), required=True, metadata={"description": "What is wrong; empty: nothing."})
