"""Schemas of report requests, and the representation of reports in the API.

SDKs read a job by the position of its keys, so their order and the absence of keys are part of the contract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from marshmallow import ValidationError, fields, post_load, validates_schema

from app.exceptions import FieldError
from app.schemas import json
from app.schemas.field_errors import load, to_input_error
from app.schemas.fields import Batch, Choice, Code, Codes, Delimiter, Described, Flag, Item, Lenient, ObjectName, Time

PARQUET = "parquet"
FORMATS = ("csv", "jsonl", PARQUET)
LAYOUTS = ("columns", "positional")
UNCOMPRESSED = "none"
COMPRESSIONS = (UNCOMPRESSED, "gzip", "zstd")
STATUSES = ("RUNNING", "COMPLETE", "TIMEOUT", "FAILED")
DEFAULT_DELIMITER = "|"
MAX_SEVERAL = 100  # customers, and products, of a report
MAX_NAMED = 3  # codes that `in_words` names
SEVERAL = {"customers": "customer", "products": "product"}  # the names of lists, and of their items
MAX_VALUES = 20_000  # of a request; one with a thousand types needs about as many


class Text(Described):
    """Nonempty string of at most 1,024 characters."""

    allowed = "a string of 1 to 1,024 characters"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= 1024:
            raise self.refuse(value)
        return value


class Part(Described, fields.Nested):
    """Nested object in the request."""

    allowed = "an object"

    def _deserialize(self, value: object, *args: Any, **kwargs: Any) -> object:
        if not isinstance(value, dict):
            raise self.refuse(value, f"is {json.kind(value)}")
        return super()._deserialize(value, *args, **kwargs)


class Several(Codes):
    """List of the customers or products of a report that covers several."""

    max_items = MAX_SEVERAL
    allowed = f"an array of 1 to {MAX_SEVERAL} codes"

    def _deserialize(self, value: object, *args: Any, **kwargs: Any) -> list[str]:
        codes = super()._deserialize(value, *args, **kwargs)
        if not codes:
            raise self.refuse(value, "is empty")
        return list(dict.fromkeys(codes))


class FilterSchema(Lenient):
    """Which events a report has. Both ends of the time are included."""

    customer = Code(required=True, metadata={"description": "Known: in the catalog, or seen.", "example": "BARCHART"})
    product = Code(required=True, metadata={"description": "Known: in the catalog, or seen.", "example": "PORTFOLIO"})
    types = Codes(metadata={"description": "Event types; none or empty means all."})
    start = Time(digits=True, metadata={"description": "The first millisecond.", "example": 1793000000000})
    end = Time(digits=True, metadata={"description": "The last millisecond.", "example": 1795591999999})

    def load_query(self, given: dict[str, object]) -> dict[str, Any]:
        """Return a filter from query parameters, or raise InputInvalid."""
        return load(self, given, "The query", "nothing was read")

    @validates_schema
    def in_order(self, data: dict[str, Any], **kwargs: object) -> None:
        """Reject an end before the start, because it selects nothing and is certainly a mistake."""
        start, end = data.get("start"), data.get("end")
        if start is not None and end is not None and end < start:
            raise ValidationError({"end": [f"is {end}, before start, {start}; it must be start or later"]})


class EventFilterSchema(FilterSchema):
    """Which events a list has: as for a report, optionally only of a batch, or with a value in their context."""

    context = Code(metadata={"description": "The name, in the catalog, of the context item that has the value."})
    value = Item(metadata={"description": "A context item that the events have, the named one or any."})
    batch = Batch(metadata={"description": "The batch of the events, from the response to their request."})

    @validates_schema
    def has_value(self, data: dict[str, Any], **kwargs: object) -> None:
        """Reject a name without a value."""
        if "context" in data and "value" not in data:
            raise ValidationError({"value": [self.fields["value"].error_messages["required"]]})


class ReportFilterSchema(FilterSchema):
    """Which events a report has: of one or several customers and products. Both ends of the time are included."""

    customer = Code(metadata={"description": "Known: in the catalog, or seen. Required without customers."})
    product = Code(metadata={"description": "Known: in the catalog, or seen. Required without products."})
    customers = Several(metadata={"description": "Instead of `customer`: several codes, with a column in the file."})
    products = Several(metadata={"description": "Instead of `product`: several codes, with a column in the file."})

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def require_one_or_several(self, data: dict[str, Any], given: Mapping[str, object], **kwargs: object) -> None:
        """Require either a customer or a list of them, and the same of the product."""
        errors = {}
        for several, one in SEVERAL.items():
            if one not in given and several not in given:
                errors[one] = [self.fields[one].error_messages["required"]]
            elif one in given and several in given:
                errors[several] = [f"is sent together with {one}; send only one of the two"]
        if errors:
            raise ValidationError(errors)

    def handle_error(self, error: ValidationError, data: object, **kwargs: object) -> None:
        """Put the errors into the order of the fields."""
        found: dict[str, object] = error.normalized_messages()  # type: ignore[no-untyped-call]
        error.messages = {name: found[name] for name in (*self.fields, *found) if name in found}

    @post_load
    def unwrap_single_codes(self, data: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Return a list of one code as that code."""
        for several, one in SEVERAL.items():
            if len(data.get(several, ())) == 1:
                (data[one],) = data.pop(several)
        return data


class OutputSchema(Lenient):
    """What the report file looks like and where it goes. What its format has no use for is accepted, and ignored."""

    delimiter = Delimiter(metadata={"description": "Between columns of csv; default |.", "example": "|"})
    bucketName = Text(metadata={"description": "Deliver to this bucket, if the operator allows it."})
    bucketKey = ObjectName(metadata={"description": "Deliver under this key: at most 1,024 bytes in UTF-8."})
    format = Choice(FORMATS, metadata={"description": "Default csv."})
    layout = Choice(LAYOUTS, metadata={"description": "Default columns where the catalog names them."})
    header = Flag(metadata={"description": "Whether a csv's first row has the column names; default false."})
    compression = Choice(COMPRESSIONS, metadata={"description": "Default none; with parquet none only."})
    spreadsheetSafe = Flag(metadata={"description": "Put ' before what a spreadsheet would run; default false."})

    @validates_schema
    def once_compressed(self, data: dict[str, Any], **kwargs: object) -> None:
        """Reject compressed Parquet, because its readers start at the end of the file, which compression hides."""
        compression = data.get("compression", UNCOMPRESSED)
        if data.get("format") == PARQUET and compression != UNCOMPRESSED:
            allowed = 'it must be "none" with the format "parquet", whose columns are compressed inside the file'
            raise ValidationError({"compression": [f'is "{compression}"; {allowed}']})

    @validates_schema
    def both_or_neither(self, data: dict[str, Any], **kwargs: object) -> None:
        """Require both bucket and key or neither, because one alone is not a destination."""
        given = {"bucketName", "bucketKey"} & set(data)
        if len(given) == 1:
            [missing] = {"bucketName", "bucketKey"} - given
            raise ValidationError({missing: [self.fields[missing].error_messages["required"]]})


class ReportRequestSchema(Lenient):
    """The body of `POST /reports`."""

    filter = Part(ReportFilterSchema, required=True)
    output = Part(OutputSchema)

    def load_body(self, body: bytes) -> dict[str, Any]:
        """Return the request's `filter` and, if one was sent, its `output`, with keys in the order of the response.

        Raise BodyMalformed or BodyTooLarge, or InputInvalid if a field is invalid or occurs twice.
        """
        return self.load_with_ignored(body)[0]

    def load_with_ignored(self, body: bytes) -> tuple[dict[str, Any], list[str]]:
        """Return the same together with the places of the unknown keys."""
        value = json.parse_clean(body, values=MAX_VALUES)
        keys = Counter(json.keys(body, levels=2, values=MAX_VALUES))
        known = set(self.fields)
        for name, part in self.fields.items():
            if isinstance(part, Part):
                known |= {f"{name}.{key}" for key in part.schema.fields}
        if not isinstance(value, dict):
            fault = FieldError(f"body is {json.kind(value)}; it must be an object with a filter.")
            raise to_input_error([fault], "The report's request")
        twice = sorted(key for key in known if keys[key] > 1)
        if twice:
            faults = [FieldError(f"{key} comes twice; it may come once.", field=key.partition(".")[2]) for key in twice]
            raise to_input_error(faults, "The report's request")
        ignored = [key for key in keys if key not in known and key.rpartition(".")[0] in {"", *self.fields}]
        return load(self, value, "The report's request"), ignored


class ReportRow(Protocol):
    """Row of the table of reports, as far as the API shows it."""

    job: str
    customer: str
    product: str
    customers: Any
    products: Any
    types: Any
    start: int | None
    end: int | None
    output: Any
    status: str
    started_at: int
    ended_at: int | None


def job(report: ReportRow) -> dict[str, object]:
    """Return a report for the API: exactly `job, source, status, filter, timing, [output]`, in this order.

    If it is about several customers or products, `customer` or `product` summarizes them, and the list is last.
    """
    filter = {"customer": report.customer, "product": report.product}
    given = {"types": report.types, "start": report.start, "end": report.end}
    given |= {"customers": report.customers, "products": report.products}
    ended = {} if report.ended_at is None else {"end": report.ended_at}
    output = {} if report.output is None else {"output": report.output}
    return {
        "job": report.job,
        "source": source(report),
        "status": report.status,
        "filter": filter | {key: value for key, value in given.items() if value is not None},
        "timing": {"day": day(report.started_at), "start": report.started_at} | ended,
    } | output


def in_words(codes: Sequence[str]) -> str:
    """Return several codes as a short text, such as `A, B and 5 more`."""
    if len(codes) <= MAX_NAMED:
        return ", ".join(codes)
    named = codes[: MAX_NAMED - 1]
    return f"{', '.join(named)} and {len(codes) - len(named)} more"


def source(report: ReportRow) -> str:
    """Return the name by which the API identifies a report."""
    return f"JOB-{report.job}"


def day(milliseconds: int) -> str:
    """Return the UTC day of a time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
