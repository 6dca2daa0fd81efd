"""JSON Schemas of the responses.

The responses are built elsewhere (`events.StoredEvent`, `reports.job`, `progress.progress`, the views). Tests compare
each response with its schema. A string in the place of a schema names another one.
"""

from __future__ import annotations

from app.api.openapi.json_schema import TIME
from app.api.openapi.operations import JsonObject
from app.schemas.fields import MAX_CONTEXT_ITEMS, MAX_CONTEXT_TEXT
from app.schemas.reports import STATUSES

MAX_CHILDREN = 101  # of an error: a hundred faults, then one that counts the rest


def _exactly(description: str, properties: JsonObject, *, optional: tuple[str, ...] = ()) -> JsonObject:
    """Return the schema of an object with these keys and no others. An optional one is absent until it is known."""
    required = sorted(properties.keys() - set(optional))
    schema: JsonObject = {"description": description, "type": "object", "properties": properties}
    return schema | ({"required": required} if required else {}) | {"additionalProperties": False}


def _text(description: str = "", **others: object) -> JsonObject:
    return {"type": "string"} | others | ({"description": description} if description else {})


def _integer(description: str = "", low: int = 0, **others: object) -> JsonObject:
    return {"type": "integer", "minimum": low} | others | ({"description": description} if description else {})


def _time(description: str) -> JsonObject:
    return {"description": description} | TIME


def _array(items: object, **others: object) -> JsonObject:
    return {"type": "array", "items": items} | others


NEXT = _text("Send it as `after` to get what follows; absent on the last page.")
STRINGS = {"type": "string"}
PROGRESS: JsonObject = {
    "rows": _integer("Written so far."),
    "total": _integer("To be written; about, until it is complete."),
    "percent": _integer("100: the file is there.", maximum=100),
    "eta_ms": _integer("How long the rest will take, in milliseconds."),
    "attempt": _integer("How often a worker took it.", 1),
    "queue_position": _integer("1: the next free worker takes it.", 1),
    "rows_with_extra_context": _integer("Rows with context items that no column takes: the file lacks those."),
    "file": "ReportFile",
}
CHILDREN = "What is wrong in detail, a node for each fault; empty where there is nothing to add."
CHECKS = "Each thing looked at: `ok`, or what is wrong and what to do."
SCHEMAS: dict[str, JsonObject] = {
    "ErrorValue": _exactly("What went wrong.", {"code": _text("For programs."), "message": _text("For people.")}),
    "Error": _exactly(
        "One node of an error's tree.",
        {"value": "ErrorValue", "children": _array("Error", maxItems=MAX_CHILDREN, description=CHILDREN)},
    ),
    "Errors": _array("Error", minItems=1, maxItems=1),
    "Unauthorized": _exactly("The one error that is no tree.", {"message": _text(enum=["Unauthorized"])}),
    "EventPage": _exactly("Events, newest first.", {"events": _array("FullEvent"), "next": NEXT}, optional=("next",)),
    "Count": _exactly(
        "Number of events of a group.",
        {
            "time": _time("The first millisecond of the hour or day, with by=hour or by=day."),
            **dict.fromkeys(("customer", "product", "type"), STRINGS),
            "value": {"type": ["string", "null"], "description": "Of the context item, with by=context."},
            "count": _integer(low=1),
        },
        optional=("time", "customer", "product", "type", "value"),
    ),
    "CountsRest": _exactly("The groups beyond the limit.", {"groups": _integer(), "count": _integer()}),
    "Counts": _exactly(
        "Numbers of the largest groups, by time, then the largest first.",
        {"counts": _array("Count"), "total": _integer("Of all groups."), "rest": "CountsRest"},
    ),
    "Changes": _exactly(
        "Events in the order of acceptance.",
        {"events": _array("FullEvent"), "next": _text("The cursor of the events that follow.")},
    ),
    "JobTiming": _exactly(
        "When it was started, and when it ended.",
        {
            "day": _text("The UTC day of the start.", format="date"),
            "start": _time("Milliseconds since 1970-01-01T00:00:00Z."),
            "end": _time("Once it has ended."),
        },
        optional=("end",),
    ),
    "Job": _exactly(
        "A report. Clients read it by position: the keys are in this order.",
        {
            "job": _text(format="uuid"),
            "source": _text("By which it is asked for.", pattern="^JOB-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
            "status": _text(enum=[*STATUSES]),
            "filter": "JobFilter",
            "timing": "JobTiming",
            "output": "JobOutput",
        },
        optional=("output",),
    ),
    "JobPage": _exactly("Reports, newest first.", {"reports": _array("Job"), "next": NEXT}, optional=("next",)),
    "ReportFile": _exactly(
        "A complete report's file.",
        {
            "rows": _integer(),
            "bytes": _integer(),
            "sha256": _text(pattern="^[0-9a-f]{64}$"),
            "expires": _time("When the file is removed, in milliseconds."),
        },
    ),
    "Progress": _exactly("How far a report is.", PROGRESS, optional=tuple(PROGRESS)),
    "Link": _exactly(
        "Where a report's file is.", {"link": _text("Works for 15 minutes, without credentials.", format="uri")}
    ),
    "About": _exactly(
        "This installation.",
        dict.fromkeys(("name", "description", "version"), STRINGS)
        | {"environment": _text("The operator's name for it.")},
    ),
    "Version": _exactly("Which version answers.", {"version": STRINGS, "service": "About"}),
    "User": _exactly(
        "The caller.",
        {
            "id": _text("The user's name."),
            "context": _text("The user's customers, a comma between them; `*`: all customers."),
            "permissions": _text("What the role may do, a comma between; or null.", type=["string", "null"]),
            "role": STRINGS,
            "customers": _array(STRINGS, type=["array", "null"], description="The same as a list; null: all."),
        },
    ),
    "Authentication": _exactly("Who the caller is to this service.", {"service": "About", "user": "User"}),
    "Live": _exactly("The process answers.", {"status": _text(enum=["live"])}),
    "Ready": _exactly(
        "Whether the service can do all of its work.",
        {
            "status": _text(enum=["ready", "unready"]),
            "checks": {"type": "object", "description": CHECKS, "additionalProperties": STRINGS},
            "reasons": _array(STRINGS, description="What is wrong; empty: nothing."),
        },
    ),
}


def derive(event: JsonObject, filter: JsonObject, output: JsonObject) -> dict[str, JsonObject]:
    """Return the schemas that repeat the properties of what was sent: of an event, and of a report's parts."""
    items = {"type": ["string", "null"], "maxLength": MAX_CONTEXT_TEXT}
    as_sent = "As sent; numbers and booleans have become their JSON text."
    stored = event | {
        "context": _array(items, maxItems=MAX_CONTEXT_ITEMS, description=as_sent),
        "sequence": _integer("Its place in the request, from 1.", 1),
        "batch": _text("The same for a whole request.", format="uuid"),
    }
    full = stored | {"received": _time("When it was accepted, in milliseconds.")}
    times = {
        "start": _time("The first millisecond.") | {"example": 1793000000000},
        "end": _time("The last millisecond.") | {"example": 1795591999999},
    }
    optional, words = ("types", "start", "end"), "Which events the report has: what was sent, times as integers."
    return {
        "StoredEvent": _exactly("An event as it is stored.", stored, optional=("version",)),
        "FullEvent": _exactly("An event as it is read back.", full, optional=("version",)),
        "JobFilter": _exactly(words, filter | times, optional=optional),
        "JobOutput": _exactly("What was sent; absent where nothing was.", output, optional=tuple(output)),
    }
