"""Peewee models of the tables, which `migrations/` creates.

Times are whole milliseconds since 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

from typing import Any

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

from app.store.database import ContextField, JsonField, database


class Table(Model):
    """Base class of all tables."""

    class Meta:
        database = database
        legacy_table_names = False


class Event(Table):
    """Usage event. `id` is the order of acceptance."""

    id = BigAutoField()
    customer = TextField()
    product = TextField()
    type = TextField()
    version = TextField(null=True)
    timestamp = BigIntegerField()
    context: Field[list[str | None]] = ContextField()
    sequence = IntegerField()  # position in its batch, from 1
    batch = TextField()  # UUID of the request
    received = BigIntegerField()


class ObservedCode(Table):
    """Customer, product and type that occurred together in an event."""

    id = BigAutoField()
    customer = TextField()
    product = TextField()
    type = TextField()
    first_observed_at = BigIntegerField()
    width = IntegerField()  # maximum number of context items
    is_erased = BooleanField(default=False)  # all its events were erased


class IdempotencyKey(Table):
    """Response to the first request with a key."""

    key = TextField(primary_key=True)
    digest = BlobField()
    answer = BlobField()
    created_at = BigIntegerField(index=True)


class RejectedEvent(Table):
    """Rejected event, stored in full."""

    id = BigAutoField()
    received_at = BigIntegerField(index=True)
    address = TextField()  # of the client, shortened
    request_id = TextField()
    place = IntegerField()  # position in its request, from 1
    event = TextField()  # as received: JSON, or an invalid line
    field = TextField()  # the first invalid field; empty for the event as a whole
    reasons: Field[list[str]] = JsonField()  # one sentence per fault
    customer = TextField(default="")  # the apparent customer; empty if unknown
    product = TextField(default="")  # the apparent product and type; empty if unknown
    type = TextField(default="")
    fault = TextField(default="")  # of `field`: missing, unknown or wrong; empty if stored before this was recorded
    request = TextField(null=True, index=True)  # the RejectedRequest of the event, or null
    bytes = BigIntegerField(default=0)  # size of the event and its reasons


class RejectedRequest(Table):
    """Request that was rejected because some of its events are invalid, with its whole body including valid events."""

    id = BigAutoField()
    uuid = TextField(unique=True)
    received_at = BigIntegerField(index=True)
    address = TextField()  # of the client, shortened
    request_id = TextField()
    idempotency_key = TextField(null=True)  # as the client sent it, or null
    body = BlobField()  # the decoded body, compressed by zstd
    bytes = BigIntegerField()  # size of the compressed body
    is_lines = BooleanField()  # whether the body has one event per line
    events = IntegerField()  # number in the body
    invalid = IntegerField()  # number of invalid events at the time of rejection
    customer = TextField()  # customer of all events; empty if there are several or it is unknown
    excluded_places: Field[list[int]] = JsonField(default=list)  # places, from 1, of events removed or sent alone
    forbidden_places: Field[list[int]] = JsonField(default=list)  # places of events that its ingest key may not send


class RejectedDrop(Table):
    """Number of rejected events that were dropped because there were too many. It has one row."""

    id = IntegerField(primary_key=True)
    number = BigIntegerField()


class RejectedCount(Table):
    """Number of events ever rejected per field and fault, without dropped events."""

    field = TextField()  # empty for the event as a whole
    fault = TextField()
    number = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("field", "fault")


class EventImport(Table):
    """Progress of importing a file of events."""

    identity = TextField(primary_key=True)  # hash of the content and of how it is read
    name = TextField()
    offset = BigIntegerField()  # in the decompressed content; everything before it is imported
    line = BigIntegerField()  # number of the line at the offset
    events = BigIntegerField()  # number stored
    rejected = BigIntegerField()  # number of rejected lines
    started_at = BigIntegerField()
    finished_at = BigIntegerField(null=True)  # null: not finished


class HourlyCount(Table):
    """Number of events of a customer, product and type whose timestamp is in one hour."""

    customer = TextField()
    product = TextField()
    type = TextField()
    hour = BigIntegerField()  # its first millisecond
    number = BigIntegerField()
    first_at = BigIntegerField()  # the earliest and the latest counted timestamp, even if its event was erased
    last_at = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("customer", "product", "type", "hour")


class DailyCount(Table):
    """Number of all customers' events of a product and type on a day of UTC, and in its hours: hour_0 to hour_23."""

    day = BigIntegerField()  # its first millisecond
    product = TextField()
    type = TextField()
    number = BigIntegerField()
    vars().update({f"hour_{number}": BigIntegerField() for number in range(24)})

    class Meta:
        primary_key = CompositeKey("day", "product", "type")


class DailyCustomerCount(Table):
    """Number of a customer's events of a product and any type on a day of UTC, and in its hours: hour_0 to hour_23."""

    day = BigIntegerField()  # its first millisecond
    customer = TextField()
    product = TextField()
    number = BigIntegerField()
    vars().update({f"hour_{number}": BigIntegerField() for number in range(24)})

    class Meta:
        primary_key = CompositeKey("day", "customer", "product")


class Counted(Table):
    """Watermark and totals of the hourly counts. It has one row."""

    id = IntegerField(primary_key=True)
    up_to = BigIntegerField()
    total = BigIntegerField(default=0)  # number of events ever counted
    erased = BigIntegerField(default=0)  # number of those erased
    slice_end = BigIntegerField(null=True)  # the last event of the slice that is being counted, or null
    slice_groups = BigIntegerField(default=0)  # number of its groups in the counts
    # those of `total` and `erased` that `daily_customer_count` has; nullable only because 1.0 does not know them
    daily_customer_total = BigIntegerField(default=0, null=True)
    daily_customer_erased = BigIntegerField(default=0, null=True)


class ErasureTrace(Table):
    """Highest id among events of a customer's product that one transaction erased.

    A trace is removed if a later one of the same product has a higher id, because it says nothing more.
    """

    customer = TextField()
    product = TextField()
    erased = BigIntegerField()  # `Counted.erased` after the transaction, by which traces are in order
    max_id = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("customer", "product", "erased")


class ReceivedRange(Table):
    """Times at which events of consecutive ids were received; see `batches`."""

    span = BigIntegerField(primary_key=True)  # number of the range of ids
    first_at = BigIntegerField()
    last_at = BigIntegerField()


class Customer(Table):
    """Customer in the catalog."""

    code = TextField(primary_key=True)
    description = TextField(default="")


class Product(Table):
    """Product in the catalog. `columns` are its report columns in order."""

    code = TextField(primary_key=True)
    description = TextField(default="")
    columns: Field[list[str]] = JsonField(default=list)
    extra = TextField(default="column")  # items without a column: column (a common column), drop (omitted)


class EventType(Table):
    """Event type in the catalog. `context` names its context items in order."""

    id = BigAutoField()
    code = TextField()
    product = TextField()
    description = TextField(default="")
    context: Field[list[str]] = JsonField(default=list)


class Account(Table):
    """User of the API (HTTP Basic authentication) and the dashboard."""

    id = BigAutoField()
    name = TextField(unique=True)
    role = TextField()
    customers: Field[list[str] | None] = JsonField(null=True)  # the customers that the user is limited to; null: all
    password = TextField()  # an argon2id hash
    password_expires_at = BigIntegerField(null=True)  # of a one-time password; null: the user has set the password
    password_version = TextField()  # changes with the password or a new second factor; ends every earlier session
    created_at = BigIntegerField()
    mail = TextField(null=True)  # address for mail; null: none
    # Of a user who signs in with an account of an identity provider, who has no password; null: a local user.
    oidc_issuer = TextField(null=True)
    oidc_subject = TextField(null=True)  # the provider's id of the user, which never changes
    deactivated_at = BigIntegerField(null=True)  # null: active
    totp_salt = TextField(null=True)  # the secret of the second factor is derived from it; null: no second factor
    totp_step = BigIntegerField(null=True)  # the 30 seconds, counted since 1970, of the last code used


class Session(Table):
    """Session of a user in one browser."""

    id = BigAutoField()
    digest = TextField(unique=True)  # SHA-256 of the browser's cookie
    account = BigIntegerField(index=True)
    password_version = TextField()  # the user's version at sign-in
    created_at = BigIntegerField()
    seen_at = BigIntegerField(index=True)  # time of the user's last activity, to the minute
    address = TextField()  # address at sign-in
    agent = TextField()  # the browser's user agent
    oidc_sid = TextField(null=True)  # the identity provider's id of its session
    id_token = TextField(null=True)  # names the session to the identity provider at sign-out
    user: Account  # set by the queries in `store.people.sessions`


class EndedSession(Table):
    """Session that has ended, with the reason, which the browser's next page shows."""

    digest = TextField(primary_key=True)  # of the session
    reason = TextField()
    ended_at = BigIntegerField(index=True)


class OidcOnce(Table):
    """Value of single sign-on that may be used once: the state of a sign-in, or the id of a logout token."""

    digest = TextField(primary_key=True)  # of the value: SHA-256, hexadecimal
    expires_at = BigIntegerField(index=True)  # afterwards the value is invalid for another reason


class RecoveryCode(Table):
    """Unused recovery code of a user's second factor."""

    id = BigAutoField()
    account = BigIntegerField(index=True)
    digest = TextField(unique=True)  # of the code: SHA-256, hexadecimal


class SavedView(Table):
    """Filter of a page that a user has saved under a name."""

    id = BigAutoField()
    account = BigIntegerField()
    name = TextField()
    page = TextField()
    query = TextField()  # of the page's URL, without `?`
    is_shared = BooleanField(default=False)  # whether all users may open it
    created_at = BigIntegerField()
    owner: Account  # set by the queries in `store.people.saved_views`

    class Meta:
        indexes = ((("account", "page", "name"), True),)


class ApiToken(Table):
    """Token with which a user's programs call the API. Names are unique among a user's active tokens."""

    id = BigAutoField()
    account = BigIntegerField(index=True)
    name = TextField()
    digest = TextField(unique=True)  # of the token: SHA-256, hexadecimal
    hint = TextField()  # beginning of the token, which identifies it to people
    scopes: Field[list[str]] = JsonField()
    customers: Field[list[str] | None] = JsonField(null=True)  # customers that it is limited to; null: its user's
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    used_at = BigIntegerField(null=True)  # time of last use, to the minute; null: never
    revoked_at = BigIntegerField(null=True)  # null: active
    user: Account  # set by the queries in `store.people.tokens`


class IngestKey(Table):
    """Key that permits sending events. Names are unique among active keys."""

    id = BigAutoField()
    name = TextField()
    digest = TextField(unique=True)  # of the key: SHA-256, hexadecimal
    hint = TextField()  # beginning of the key, which identifies the sending product to people
    customers: Field[list[str] | None] = JsonField(null=True)  # customers whose events it may send; null: all
    products: Field[list[str] | None] = JsonField(null=True)  # products whose events it may send; null: all
    created_at = BigIntegerField()
    used_at = BigIntegerField(null=True)  # time of last use, to the minute; null: never
    revoked_at = BigIntegerField(null=True)  # null: active


class SettingSeen(Table):
    """Value of a setting at the last start."""

    name = TextField(primary_key=True)
    value = TextField()  # secrets are masked


class AuditEntry(Table):
    """Entry of the audit log. `id` is the order of writing."""

    id = BigAutoField()
    recorded_at = BigIntegerField(index=True)
    account = BigIntegerField(null=True)  # the user's id; null if not authenticated
    who = TextField()  # the user's name at that time; empty if none
    action = TextField()  # one of app.services.people.audit.ACTIONS
    object = TextField()  # the target, such as "user olga" or "report JOB-…"
    customer = TextField(default="")  # customer of the data; empty if not exactly one
    address = TextField(default="")  # client address; empty for actions on the server itself
    details: Field[dict[str, Any]] = JsonField(default=dict)

    class Meta:
        table_name = "audit"


class Report(Table):
    """Report. This row, not Redis, is authoritative."""

    id = BigAutoField()
    job = TextField(unique=True)  # a UUID
    account = BigIntegerField(null=True)
    account_name = TextField()
    schedule = BigIntegerField(null=True)  # the schedule that started it
    name = TextField(null=True)  # null: it is called by its filter
    customer = TextField()  # a summary if there are several
    product = TextField()
    customers: Field[list[str] | None] = JsonField(null=True)  # null if there is only one
    products: Field[list[str] | None] = JsonField(null=True)
    types: Field[list[str] | None] = JsonField(null=True)  # as sent; null: not sent
    start = BigIntegerField(null=True)
    end = BigIntegerField(null=True)
    output: Field[dict[str, Any] | None] = JsonField(null=True)  # as sent; null: not sent
    layout: Field[dict[str, Any]] = JsonField()  # app.exports.layout.Layout, fixed at acceptance
    snapshot_min_id = BigIntegerField(null=True)  # the last event id before the snapshot; null: no lower limit
    snapshot_max_id = BigIntegerField()  # the last event id that belongs to the snapshot
    estimated_rows = BigIntegerField(default=0)  # estimate from the hourly counts at acceptance
    status = TextField()  # RUNNING, COMPLETE, TIMEOUT, FAILED
    cancelled = BooleanField(default=False)  # the API reports FAILED
    started_at = BigIntegerField()
    ended_at = BigIntegerField(null=True)
    reason = TextField(null=True)  # why it failed, for display
    attempt = IntegerField(default=0)  # number of attempts
    stalled_attempts = IntegerField(default=0)  # consecutive ones without progress; -1: the current one progressed
    next_attempt_at = BigIntegerField(null=True)  # earliest time of the next attempt
    token = TextField(null=True)  # of the attempt that may write this row; null: no attempt holds it
    worker = TextField(null=True)  # the worker of the attempt
    paused = BooleanField(default=False)  # waits for smaller reports; the next claim resumes the same attempt
    heartbeat_at = BigIntegerField(null=True)  # last heartbeat of the attempt, by the database's clock
    claimed_at = BigIntegerField(null=True)  # when the attempt began
    began_at = BigIntegerField(null=True)  # when the first attempt of this run began
    planned = BooleanField(default=False)  # whether total, width and extra_rows are measured, and the parts are created
    writing_began_at = BigIntegerField(null=True)  # when the attempt began to write rows, by the database's clock
    resumed_rows = BigIntegerField(null=True)  # rows that were written before `writing_began_at`
    rows = BigIntegerField(null=True)
    total = BigIntegerField(null=True)
    width = BigIntegerField(null=True)  # items of the widest context
    extra_rows = BigIntegerField(null=True)  # rows whose context had items without a column
    file = TextField(null=True)  # the storage's key
    etag = TextField(null=True)  # identifies the file, if others may also write under that key
    bytes = BigIntegerField(null=True)
    sha256 = TextField(null=True)
    expires_at = BigIntegerField(null=True)  # when the file expires
    removed = BooleanField(default=False)

    @property
    def all_customers(self) -> list[str]:
        """Return the customers that it is about."""
        return self.customers or [self.customer]

    @property
    def all_products(self) -> list[str]:
        """Return the products that it is about."""
        return self.products or [self.product]


class ReportPart(Table):
    """Time range of a report that any free worker can write separately."""

    id = BigAutoField()
    job = TextField()
    number = IntegerField()  # position in the file, from 0
    start = BigIntegerField(null=True)  # milliseconds, both inclusive; null: no limit
    end = BigIntegerField(null=True)
    done = BooleanField(default=False)
    token = TextField(null=True)  # of the current writer; null: none
    worker = TextField(null=True)
    heartbeat_at = BigIntegerField(null=True)  # the writer's last heartbeat, by the database's clock
    rows = BigIntegerField(default=0)  # written so far
    bytes = BigIntegerField(default=0)
    file = TextField(null=True)  # the storage's key; null until done


class ReportAttempt(Table):
    """Attempt of one worker at a report, for display."""

    id = BigAutoField()
    job = TextField()
    number = IntegerField()
    token = TextField()
    worker = TextField()
    began_at = BigIntegerField()
    ended_at = BigIntegerField(null=True)
    outcome = TextField(null=True)  # complete, lost, failed, timeout, cancelled; null: running
    reason = TextField(null=True)
    rows = BigIntegerField(default=0)


class Schedule(Table):
    """Recurring report: its request, recurrence and progress."""

    id = BigAutoField()
    name = TextField()
    owner = BigIntegerField()  # the user's id; 0: a command on the server
    owner_name = TextField()
    customer = TextField()
    product = TextField()
    types: Field[list[str] | None] = JsonField(null=True)  # as in Report
    output: Field[dict[str, Any] | None] = JsonField(null=True)  # as in Report
    recurrence = TextField()  # daily, weekly, monthly
    hour = IntegerField()  # of the day, UTC
    mode = TextField()  # period, since_last
    active = BooleanField(default=True)
    reason = TextField(null=True)  # why it is paused or could not run, for display
    next_run_at = BigIntegerField(null=True)  # null: paused
    last_run_at = BigIntegerField(null=True)
    last_report = TextField(null=True)  # UUID of the last report
    last_snapshot_max_id = BigIntegerField(null=True)  # the last event id that a report of it has included
    claim = TextField(null=True)  # token of the process that is starting a report; null: none
    claimed_at = BigIntegerField(null=True)
    claimed_next_run_at = BigIntegerField(null=True)  # the next run after the claimed one
    created_at = BigIntegerField()


class ScheduleRecipient(Table):
    """User who gets mail about the reports of a schedule."""

    schedule = BigIntegerField()
    account = BigIntegerField()
    name = TextField()  # the user's name at that time
    added_at = BigIntegerField()  # reports that ended earlier are not announced
    removed_at = BigIntegerField(null=True)  # null: active
    reason = TextField(null=True)  # why it was removed, for display

    class Meta:
        primary_key = CompositeKey("schedule", "account")


class ScheduleWebhook(Table):
    """Webhook that a schedule names."""

    schedule = BigIntegerField()
    webhook = BigIntegerField(index=True)
    added_at = BigIntegerField()  # reports that ended earlier are not announced to it

    class Meta:
        primary_key = CompositeKey("schedule", "webhook")


class Webhook(Table):
    """URL of a server that is notified of events. Names are unique among an owner's webhooks."""

    id = BigAutoField()
    owner = BigIntegerField()  # the user's id; 0: a command on the server
    owner_name = TextField()
    name = TextField()
    url = TextField()
    types: Field[list[str]] = JsonField(default=list)  # the event types that it gets besides reports of schedules
    created_at = BigIntegerField()
    enabled_at = BigIntegerField()  # reports that ended earlier are not announced
    subscribed_at = BigIntegerField()  # the same for reports that no schedule of it started
    disabled_at = BigIntegerField(null=True)  # null: enabled
    reason = TextField(null=True)  # why it is disabled, for display; null: a user disabled it


class WebhookSecret(Table):
    """Secret that signs what a webhook gets. It is derived from the salt, not stored."""

    id = BigAutoField()
    webhook = BigIntegerField()
    prefix = TextField()  # of its text: whsec_, or tally_hook_ if version 1.0 made it
    salt = TextField()
    created_at = BigIntegerField()
    expires_at = BigIntegerField(null=True)  # null: the current secret


class Delivery(Table):
    """Notification that waits for its receiver, or was sent: a webhook, a mail about a report, or an alert message.

    Version 1.0 sends the rows that have a `next_try_at`, so this version never sets it, and uses `due_at`.
    """

    id = BigAutoField()
    key = TextField(unique=True)  # a UUID, the same in every try, so that a receiver can detect repeats
    type = TextField(null=True)  # event type, such as report.completed; null: version 1.0 has added it
    webhook = BigIntegerField(null=True)  # the receiver is this webhook,
    recipient = BigIntegerField(null=True)  # this user, who gets it by mail,
    channel = BigIntegerField(null=True)  # or this alert channel
    schedule = BigIntegerField(null=True)  # schedule of the report; null: none
    report = TextField(null=True)  # UUID of the report; null: the event is about none
    ended_at = BigIntegerField(null=True)  # end of the report; a report that was run again may end twice
    status = TextField(null=True)  # status of the report: COMPLETE, TIMEOUT, FAILED
    customer = TextField(null=True)  # customer of the data; null: the data concerns no single one, or is a report's
    data: Field[Any] = JsonField(null=True)  # of the event; null: that of the report when it is sent
    state = TextField()  # waiting, delivered, given_up
    tries = IntegerField(default=0)  # number of tries since the last request to deliver
    due_at = BigIntegerField(index=True, null=True)  # time of the next try; null: none
    next_try_at = BigIntegerField(null=True)  # set by version 1.0 only, until `deliveries.adopt` moves it to `due_at`
    created_at = BigIntegerField()


class DeliveryTry(Table):
    """One try to deliver a notification."""

    id = BigAutoField()
    delivery = BigIntegerField()
    began_at = BigIntegerField()
    took_ms = IntegerField()
    code = IntegerField(null=True)  # the status of HTTP or SMTP; null: no response, or of an alert channel
    said = TextField()  # beginning of the response, or the reason for having none


class AlertRule(Table):
    """Rule that decides when there is an alert."""

    id = BigAutoField()
    name = TextField(unique=True)
    kind = TextField()  # stopped, volume, rejected, threshold, health
    per = TextField()  # each of what has an alert of its own: everything, product, type, customer
    customer = TextField(null=True)  # only events of this customer, product and type; null: all
    product = TextField(null=True)
    type = TextField(null=True)
    parameters: Field[dict[str, Any]] = JsonField()  # see app.schemas.alerts
    channels: Field[list[int] | None] = JsonField(null=True)  # ids of the channels that are notified; null: all
    active = BooleanField(default=True)
    created_at = BigIntegerField()
    changed_at = BigIntegerField()


class AlertNormal(Table):
    """What is normal for a series of events, learnt from four weeks of hourly counts. Empty codes mean all."""

    id = BigAutoField()
    customer = TextField()
    product = TextField()
    type = TextField()
    learnt_at = BigIntegerField()
    first_hour_at = BigIntegerField(null=True)  # the first hour of the past that was learnt from; null: no events
    last_event_at = BigIntegerField(null=True)  # timestamp of the last event when it was learnt
    rates = BlobField()  # normal number of events in each of the 168 hours of a week from Monday, as float32
    statistics: Field[dict[str, Any]] = JsonField()  # see app.services.alerts.normal.Normal


class Alert(Table):
    """Alert of a rule about one series or health check, from the first sign until it is resolved."""

    id = BigAutoField()
    rule = BigIntegerField()
    rule_name = TextField()
    kind = TextField()  # as in AlertRule
    customer = TextField()  # codes of the series; empty means all
    product = TextField()
    type = TextField()
    subject = TextField()  # the health check; empty for a series
    state = TextField()  # pending, firing, resolved
    title = TextField()  # what, in a few words
    seen = TextField()  # what was seen, in a sentence
    expected = TextField()  # what is normal, in a sentence; empty if that is not known
    details: Field[dict[str, Any]] = JsonField()  # numbers behind the two sentences
    since_at = BigIntegerField()  # when the condition began, for example the time of the last event
    pending_at = BigIntegerField()
    firing_at = BigIntegerField(null=True)
    calm_at = BigIntegerField(null=True)  # since when the condition of a firing alert no longer holds; null: it holds
    resolved_at = BigIntegerField(null=True)
    checked_at = BigIntegerField()  # last evaluation that could judge it
    notified_at = BigIntegerField(null=True)  # time of the last message that it fires; null: none
    resolution_notified_at = BigIntegerField(null=True)  # time of the message that it is resolved; null: none


class AlertSilence(Table):
    """Period in which matching alerts are not notified. Null columns match everything."""

    id = BigAutoField()
    rule = BigIntegerField(null=True)
    customer = TextField(null=True)
    product = TextField(null=True)
    type = TextField(null=True)
    reason = TextField()
    account = BigIntegerField(null=True)  # the user's id; null: a command on the server
    who = TextField()  # the user's name at that time
    created_at = BigIntegerField()
    until_at = BigIntegerField()


class AlertMessage(Table):
    """Message about alerts of one rule, queued for the channels in the transaction that changed the alerts."""

    id = BigAutoField()
    key = TextField(unique=True)  # a UUID, so that a receiver can detect repeats
    rule = BigIntegerField()
    event = TextField()  # alert.firing, alert.resolved
    is_repeat = BooleanField(default=False)  # the alerts were already notified
    alerts: Field[list[int]] = JsonField()  # ids
    subject = TextField()
    text = TextField()
    created_at = BigIntegerField()
    dispatched_at = BigIntegerField(null=True)  # when it was handed to the channels; null: it waits


class AlertEvaluation(Table):
    """Which scheduler evaluates the rules, and when they were last evaluated. It has one row."""

    id = IntegerField(primary_key=True)
    claim = TextField(null=True)  # token of the process that evaluates; null: none
    claimed_at = BigIntegerField(null=True)  # by the database's clock
    evaluated_at = BigIntegerField(null=True)  # by the database's clock
    resumed_at = BigIntegerField(default=0)  # since when there was no gap between evaluations


class AlertChannel(Table):
    """Channel that messages about alerts are sent to."""

    id = BigAutoField()
    name = TextField(unique=True)
    addresses: Field[list[str] | None] = JsonField(null=True)  # of mail; null: it has a URL
    url = TextField(null=True)  # for Apprise, encrypted; null: it has mail addresses
    shown = TextField()  # the addresses, or the URL without its secrets
    active = BooleanField(default=True)
    created_at = BigIntegerField()
    changed_at = BigIntegerField()
    sent_at = BigIntegerField(null=True)  # last message that it accepted; null: none
    failed_at = BigIntegerField(null=True)  # since when it has been failing; null: it is not
    problem = TextField(null=True)  # why the last message failed; null: it did not
