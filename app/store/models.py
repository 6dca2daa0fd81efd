"""The tables, as Peewee models. `migrations/` makes them; this module only names them.

Times are whole milliseconds since 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    Field,
    IntegerField,
    Model,
    TextField,
)

from app.store.database import database


class ContextField(Field):
    """A list of strings and nulls: text[] on PostgreSQL, where export is fastest so; JSON text on SQLite."""

    field_type = "TEXT"

    def db_value(self, value: Sequence[str | None] | None) -> object:
        """What the driver is given."""
        return database.context_value(value)

    def python_value(self, value: object) -> list[str | None]:
        """What the driver gave, as a list."""
        return orjson.loads(value) if isinstance(value, str) else value


class JsonField(Field):
    """A JSON value kept as text, the same on both databases, keys in the order given."""

    field_type = "TEXT"

    def db_value(self, value: object) -> str | None:
        """What the driver is given."""
        return None if value is None else orjson.dumps(value).decode()

    def python_value(self, value: str | None) -> object:
        """What the driver gave, parsed."""
        return None if value is None else orjson.loads(value)


class Table(Model):
    """What all tables share."""

    class Meta:
        """Peewee's settings: the process's database, short table names."""

        database = database
        legacy_table_names = False


class Event(Table):
    """One thing that happened. `id` is the order of acceptance."""

    id = BigAutoField()
    customer = TextField()
    product = TextField()
    type = TextField()
    version = TextField(null=True)
    timestamp = BigIntegerField()
    context = ContextField()
    sequence = IntegerField()  # the place in its batch, from 1
    batch = TextField()  # a UUID for the request
    received = BigIntegerField()


class ObservedCode(Table):
    """A customer, product and type that some event had together."""

    id = BigAutoField()
    customer = TextField()
    product = TextField()
    type = TextField()
    since = BigIntegerField()
    width = IntegerField()  # no context of theirs had more items
    is_erased = BooleanField(default=False)  # all its events were erased


class IdempotencyKey(Table):
    """The answer that the first request with a key was given."""

    key = TextField(primary_key=True)
    digest = BlobField()
    answer = BlobField()
    created = BigIntegerField(index=True)


class RejectedEvent(Table):
    """An event that was refused, whole."""

    id = BigAutoField()
    received = BigIntegerField(index=True)
    address = TextField()  # of the client, shortened
    request_id = TextField()
    place = IntegerField()  # in its request, from 1
    event = TextField()  # as it was sent: JSON, or a broken line
    field = TextField()  # the first wrong field; empty: the event as a whole
    reasons = JsonField()  # a sentence for each fault
    customer = TextField(default="")  # whose it seems to be; empty: nobody's that could be told
    product = TextField(default="")  # the same of its product and type
    type = TextField(default="")
    fault = TextField(default="")  # of that field: missing, unknown or wrong; empty: kept before this was told
    request = TextField(null=True, index=True)  # the RejectedRequest of the event, or null
    bytes = BigIntegerField(default=0)  # of the event and its reasons


class RejectedRequest(Table):
    """Request that was refused because some of its events are invalid, with its whole body including valid events."""

    id = BigAutoField()
    uuid = TextField(unique=True)
    received = BigIntegerField(index=True)
    address = TextField()  # of the client, shortened
    request_id = TextField()
    idempotency_key = TextField(null=True)  # as the client sent it, or null
    body = BlobField()  # the decoded body, compressed by zstd
    bytes = BigIntegerField()  # size of the compressed body
    is_lines = BooleanField()  # whether the body has one event per line
    events = IntegerField()  # in the body
    invalid = IntegerField()  # of those, when it was refused
    customer = TextField()  # of all events; empty if there are several or it is unknown
    excluded_places = JsonField(default=list)  # places, from 1, of events that were removed or sent alone
    forbidden_places = JsonField(default=list)  # places of events that the request's ingest key may not send


class RejectedDrop(Table):
    """How many rejected events were not kept, as there were too many: one row."""

    id = IntegerField(primary_key=True)
    number = BigIntegerField()


class RejectedCount(Table):
    """How many events were ever rejected for a field and what was wrong with it, those dropped left out."""

    field = TextField()  # empty: the event as a whole
    fault = TextField()
    number = BigIntegerField()

    class Meta:
        """No key of its own."""

        primary_key = CompositeKey("field", "fault")


class EventImport(Table):
    """How far a file of events is imported."""

    identity = TextField(primary_key=True)  # of its content and how it is read
    name = TextField()
    offset = BigIntegerField()  # in its decompressed content: what stands before it is done
    line = BigIntegerField()  # the one that begins there
    events = BigIntegerField()  # stored
    rejected = BigIntegerField()  # lines refused
    started = BigIntegerField()
    finished = BigIntegerField(null=True)  # null: it goes on there


class HourlyCount(Table):
    """How many events of a customer, product and type have their timestamp in one hour."""

    customer = TextField()
    product = TextField()
    type = TextField()
    hour = BigIntegerField()  # its first millisecond
    number = BigIntegerField()
    first = BigIntegerField()  # the earliest and the latest timestamp that was counted; its event may be erased
    last = BigIntegerField()

    class Meta:
        """No key of its own."""

        primary_key = CompositeKey("customer", "product", "type", "hour")


class Counted(Table):
    """Up to which event the hourly counts are: one row."""

    id = IntegerField(primary_key=True)
    up_to = BigIntegerField()
    total = BigIntegerField(default=0)  # events counted ever
    erased = BigIntegerField(default=0)  # of those
    slice_end = BigIntegerField(null=True)  # the last event of the slice that is being counted, or null
    slice_groups = BigIntegerField(default=0)  # how many of its groups are in the counts


class Customer(Table):
    """A customer of the catalog."""

    code = TextField(primary_key=True)
    description = TextField(default="")


class Product(Table):
    """A product of the catalog; `columns` are its report columns in order."""

    code = TextField(primary_key=True)
    description = TextField(default="")
    columns = JsonField(default=list)
    extra = TextField(default="column")  # items without a column: column (a common column), drop (omitted)


class EventType(Table):
    """An event type of the catalog; `context` names its context items in order."""

    id = BigAutoField()
    code = TextField()
    product = TextField()
    description = TextField(default="")
    context = JsonField(default=list)


class Account(Table):
    """A user, for the API's Basic authentication and for signing in to the dashboard."""

    id = BigAutoField()
    name = TextField(unique=True)
    role = TextField()
    customers = JsonField(null=True)  # the customers the user is limited to; null: all of them
    password = TextField()  # an argon2id hash
    password_expires = BigIntegerField(null=True)  # it is for one sign-in before that time; null: it is their own
    password_version = TextField()  # a word that changes with the password, and ends every session that began before
    created = BigIntegerField()


class Session(Table):
    """Somebody signed in, in one browser."""

    id = BigAutoField()
    digest = TextField(unique=True)  # SHA-256 of what the browser's cookie has
    account = BigIntegerField(index=True)
    password_version = TextField()  # the user's, when they signed in
    created = BigIntegerField()
    seen = BigIntegerField(index=True)  # the last act of a person, to the minute
    address = TextField()  # from where they signed in
    agent = TextField()  # what the browser calls itself


class IngestKey(Table):
    """A product's permission to send events. Of those in use, no two have one name."""

    id = BigAutoField()
    name = TextField()
    digest = TextField(unique=True)  # of the key: SHA-256, hexadecimal
    hint = TextField()  # how the key begins, for whoever looks for the product that sends it
    customers = JsonField(null=True)  # whose events it may send; null: everybody's
    products = JsonField(null=True)  # of which products; null: of all
    created = BigIntegerField()
    used = BigIntegerField(null=True)  # last, to the minute; null: never
    revoked = BigIntegerField(null=True)  # since when it is refused; null: it is in use


class SettingSeen(Table):
    """A setting at the last start."""

    name = TextField(primary_key=True)
    value = TextField()  # secrets starred


class AuditEntry(Table):
    """Somebody did something. `id` is the order in which it was written."""

    id = BigAutoField()
    moment = BigIntegerField(index=True)
    account = BigIntegerField(null=True)  # the user's id; null: nobody who had proved to be one
    who = TextField()  # the user's name at that time; empty: nobody's
    action = TextField()  # one of app.services.people.audit.ACTIONS
    object = TextField()  # what it was done to: "user olga", "report JOB-…"
    customer = TextField(default="")  # whose data it was about; empty: no single customer's
    address = TextField(default="")  # from where; empty: from the server itself
    details = JsonField(default=dict)

    class Meta:
        """The log's name in the database."""

        table_name = "audit"


class Report(Table):
    """One export. This row, not Redis, is the truth about it."""

    id = BigAutoField()
    job = TextField(unique=True)  # a UUID
    account = BigIntegerField(null=True)
    account_name = TextField()
    schedule = BigIntegerField(null=True)  # the recurring report that started it
    customer = TextField()
    product = TextField()
    types = JsonField(null=True)  # as sent; null: not sent
    start = BigIntegerField(null=True)
    end = BigIntegerField(null=True)
    output = JsonField(null=True)  # as sent; null: not sent
    layout = JsonField()  # app.exports.layout.Layout, fixed at acceptance
    snapshot_min_id = BigIntegerField(
        null=True
    )  # the last event id that does not belong to it; null: all before the cut do
    snapshot_max_id = BigIntegerField()  # the last event id that belongs to the snapshot
    estimated_rows = BigIntegerField(default=0)  # rows, by the hourly counts at acceptance: an estimate
    status = TextField()  # RUNNING, COMPLETE, TIMEOUT, FAILED
    cancelled = BooleanField(default=False)  # it reads FAILED to programs
    started = BigIntegerField()
    ended = BigIntegerField(null=True)
    reason = TextField(null=True)  # why it failed, for people
    attempt = IntegerField(default=0)  # how often a worker took it
    stalled_attempts = IntegerField(default=0)  # attempts in a row that got no further; -1: the one at work did
    not_before = BigIntegerField(null=True)  # when it may be tried again
    token = TextField(null=True)  # of the attempt that may write this row; null: waits for a worker
    worker = TextField(null=True)  # whose attempt it is
    paused = BooleanField(default=False)  # it waits as smaller ones go first; the next attempt goes on as this one
    heartbeat_at = BigIntegerField(null=True)  # the attempt's last sign of life, by the database's clock
    claimed = BigIntegerField(null=True)  # when the attempt began
    began = BigIntegerField(null=True)  # when the first attempt of this run began
    planned = BooleanField(default=False)  # total, width and extra_rows are measured, and the parts made
    writing = BigIntegerField(null=True)  # since when the attempt at work writes rows, by the database's clock
    resumed_rows = BigIntegerField(null=True)  # rows that were written before that
    rows = BigIntegerField(null=True)
    total = BigIntegerField(null=True)
    width = BigIntegerField(null=True)  # items of the widest context
    extra_rows = BigIntegerField(null=True)  # rows whose context had items without a column
    file = TextField(null=True)  # the storage's key
    etag = TextField(null=True)  # identifies the file, if others may also write under that key
    bytes = BigIntegerField(null=True)
    sha256 = TextField(null=True)
    expires = BigIntegerField(null=True)  # when the file goes
    removed = BooleanField(default=False)


class ReportPart(Table):
    """A stretch of time of a report that is written on its own, by whichever worker is free."""

    id = BigAutoField()
    job = TextField()
    number = IntegerField()  # from 0, in the order of the file
    start = BigIntegerField(null=True)  # milliseconds, both included; null: open
    end = BigIntegerField(null=True)
    done = BooleanField(default=False)
    token = TextField(null=True)  # of whoever writes it; null: nobody
    worker = TextField(null=True)
    heartbeat_at = BigIntegerField(null=True)  # their last sign of life, by the database's clock
    rows = BigIntegerField(default=0)  # written so far
    bytes = BigIntegerField(default=0)
    file = TextField(null=True)  # the storage's key, once it is done


class ReportAttempt(Table):
    """One worker's try at a report, for people."""

    id = BigAutoField()
    job = TextField()
    number = IntegerField()
    token = TextField()
    worker = TextField()
    began = BigIntegerField()
    ended = BigIntegerField(null=True)
    outcome = TextField(null=True)  # complete, lost, failed, timeout, cancelled; null: it is at it
    reason = TextField(null=True)
    rows = BigIntegerField(default=0)


class Schedule(Table):
    """A recurring report: what it asks for, when, and how far it is."""

    id = BigAutoField()
    name = TextField()
    owner = BigIntegerField()  # the user's id; 0: whoever runs commands on the server
    owner_name = TextField()
    customer = TextField()
    product = TextField()
    types = JsonField(null=True)  # as a report's
    output = JsonField(null=True)  # as a report's
    recurrence = TextField()  # daily, weekly, monthly
    hour = IntegerField()  # of the day, UTC
    mode = TextField()  # period, since_last
    webhook = TextField(null=True)  # a URL; null: nobody is told
    webhook_since = BigIntegerField(null=True)  # reports that ended earlier are not told
    webhook_salt = TextField(null=True)  # of the secret that signs
    active = BooleanField(default=True)
    reason = TextField(null=True)  # why it is paused, or why it could not run, for people
    next_run = BigIntegerField(null=True)  # null: paused
    last_run = BigIntegerField(null=True)
    last_report = TextField(null=True)  # its UUID
    last_snapshot_max_id = BigIntegerField(null=True)  # the last event id that some report of it has taken
    claim = TextField(null=True)  # of whoever is starting a report now
    claimed = BigIntegerField(null=True)
    claimed_next = BigIntegerField(null=True)  # the next run, once it is started
    created = BigIntegerField()


class Delivery(Table):
    """A webhook: that a report of a schedule ended is to be told, or was."""

    id = BigAutoField()
    key = TextField(unique=True)  # a UUID, the same in every try: by it a receiver knows a repeat
    schedule = BigIntegerField()
    report = TextField()  # its UUID
    ended = BigIntegerField()  # when: a report that was started again may end twice
    status = TextField()  # the report's: COMPLETE, TIMEOUT, FAILED
    state = TextField()  # waiting, delivered, given_up
    tries = IntegerField(default=0)  # since it was last asked for
    next_try = BigIntegerField(index=True, null=True)  # null: none
    created = BigIntegerField()


class DeliveryTry(Table):
    """One try to deliver a webhook."""

    id = BigAutoField()
    delivery = BigIntegerField()
    moment = BigIntegerField()
    took = IntegerField()  # milliseconds
    code = IntegerField(null=True)  # the HTTP status; null: there was no answer
    said = TextField()  # the beginning of the answer, or why there was none
