"""Shared parts of `/openapi.json`: headers, parameters and errors, defined once and referenced by name."""

from __future__ import annotations

from app.api.body import CODINGS
from app.api.errors import EVENTS_FAILED, GENERAL, RETRY_SECONDS, tree
from app.api.openapi.operations import JsonObject
from app.api.query import MAX_PAGE_SIZE, PAGE_SIZE
from app.exceptions import FORBIDDEN, FieldError
from app.schemas.reports import STATUSES

ABOUT = (
    "Products send usage events to `POST /events`; analysts and their tools fetch them back as reports.\n\n"
    "Times are whole milliseconds since 1970-01-01T00:00:00Z, days are UTC. A string has neither NUL characters nor "
    "lone surrogates. Every error but 401 is an array with one tree of `value` (a code for programs, a message for "
    "people) and `children`. A path that is not here is answered 404 with the code `REQUEST_NOT_FOUND`, a method that "
    "is not here 405 with `REQUEST_METHOD_NOT_ALLOWED`."
)
TAGS = {
    "events": "What happened in the products.",
    "reports": "Events, exported to a file.",
    "service": "What this service is, and who the caller is to it.",
    "health": "For operators.",
}


def _part(description: str = "", *, place: str = "", required: bool = False, **schema: object) -> JsonObject:
    """Return the description of a header, or of a parameter in a place: `header`, `path` or `query`."""
    described: JsonObject = {"in": place} if place else {}
    described |= {"description": description} if description else {}
    described |= {"required": True} if required else {}
    return described | {"schema": schema}


COMMON_HEADERS = ("X-Request-ID", "Access-Control-Allow-Origin")
REQUEST_ID = (
    "The request's own where it sent a sane one (letters, digits and ._:-, at most 128), or a new one. The service's "
    "log names it."
)
HEADERS = {
    "X-Request-ID": _part(REQUEST_ID, required=True, type="string", pattern="^[A-Za-z0-9._:-]{1,128}$"),
    "Access-Control-Allow-Origin": _part("Whose pages may read the answer.", required=True, type="string"),
    "WWW-Authenticate": _part(required=True, type="string", const="Basic"),
    "Retry-After": _part("Seconds to wait.", required=True, type="integer", const=int(RETRY_SECONDS)),
    "Preference-Applied": _part(
        "Where `Prefer`, or the setting `INVALID_EVENTS`, asked for it.", type="string", const="handling=lenient"
    ),
    "X-Rejected-Events": _part(
        "With `Preference-Applied`: how many events were invalid, and are not stored.", type="integer", minimum=0
    ),
    "Idempotency-Replayed": _part("This is the first answer again; nothing was stored.", type="string", const="true"),
    "X-Ignored-Fields": _part("Keys of the request's JSON that nobody knows; they change nothing.", type="string"),
    "X-Rest-Groups": _part("Of CSV: `rest.groups`.", type="integer", minimum=0),
    "X-Rest-Count": _part("Of CSV: `rest.count`.", type="integer", minimum=0),
    "Location": _part(required=True, type="string", format="uri"),
    "Content-Disposition": _part("What to call the file.", type="string"),
    "ETag": _part("The file's SHA-256, quoted.", type="string"),
}
CODING_NAMES = [coding for coding in CODINGS if coding]
SAME_KEY = "A repeat with the same key and the same body is answered with the first answer."
HANDLING = (
    "`handling=lenient`: store the valid events although others are invalid. `handling=strict`: store all or none."
)
PARAMETERS = {
    "X-Request-ID": _part(
        "A name for this request, repeated in the answer and in the service's log.", place="header", type="string"
    ),
    "Content-Encoding": _part("How the body is compressed.", place="header", type="string", enum=CODING_NAMES),
    "Idempotency-Key": _part(
        SAME_KEY, place="header", type="string", minLength=1, maxLength=255, pattern=r"^[\x20-\x7e]*$"
    ),
    "Prefer": _part(HANDLING, place="header", type="string"),
    "source": _part("The report's `source`.", place="path", required=True, type="string")
    | {"example": "JOB-2f1a66a5-9d0e-4c35-8d2a-6f7b0c1d2e3f"},
    "status": _part("Only such reports.", place="query", type="string", enum=[*STATUSES]),
    "limit": _part(
        "How many at most.", place="query", type="integer", minimum=1, maximum=MAX_PAGE_SIZE, default=PAGE_SIZE
    ),
    "after": _part("The `next` of the page before.", place="query", type="string"),
    "wait": _part(
        "How many seconds to wait if there is no event.",
        place="query",
        type="integer",
        minimum=0,
        maximum=60,
        default=0,
    ),
    "by": _part(
        "What to group by, with commas: customer, product, type, hour or day, context. Empty: one total.",
        place="query",
        type="string",
    )
    | {"example": "day,product"},
    "context": _part("The name of the context item, with by=context.", place="query", type="string"),
    "format": _part(place="query", type="string", enum=["json", "csv"], default="json"),
    "expires": _part(place="query", required=True, type="string"),
    "nonce": _part(place="query", required=True, type="string"),
    "signature": _part(place="query", required=True, type="string"),
    "v": _part("The beginning of the SHA-256 of a version of the client.", place="query", type="string"),
    "Range": _part("A part of the file.", place="header", type="string"),
    "If-None-Match": _part("An earlier answer's ETag.", place="header", type="string"),
}


def _error(words: str, code: str, message: str, *field_errors: FieldError, headers: tuple[str, ...] = ()) -> JsonObject:
    content = {"schema": "Errors", "example": tree(code, message, field_errors)}
    return {
        "description": f"`{code}`: {words}",
        "headers": {name: name for name in headers},
        "content": {"application/json": content},
    }


ERRORS: dict[str, JsonObject] = {
    "400": _error(
        "the body is not JSON or has a wrong shape, or a field or parameter is invalid: each has a child.",
        "REQUEST_INPUT_MALFORMED",
        "The request has a fault; nothing was stored.",
        FieldError(
            'events[2].timestamp is "noon"; it must be a whole number of milliseconds from 0 to 253402300799999.'
        ),
    ),
    "401": {
        "description": "The user or the password is missing or wrong.",
        "headers": {"WWW-Authenticate": "WWW-Authenticate"},
        "content": {"application/json": {"schema": "Unauthorized"}},
    },
    "403": _error(
        "the caller may not see this customer's data, or a bucket is not allowed.",
        "REQUEST_AUTHORIZATION_FAILURE",
        "You may not see data of the customer BARCHART.",
    ),
    "404": _error(
        "no such report, or not yours; the response is the same.",
        "EVENT_JOB_GET_FAILED_NO_JOB",
        "There is no report JOB-1, or it is not yours.",
    ),
    "409": _error(
        "the report still runs. Or `EVENT_JOB_GET_FAILED`: it failed or timed out, there will be no file.",
        "EVENT_JOB_GET_FAILED_RUNNING",
        "The report still runs, so there is no file yet. Ask for its availability again soon.",
    ),
    "410": _error(
        "the file has expired and is removed.",
        "EVENT_JOB_GET_FAILED",
        "The report's file has expired and is removed. Start a new report.",
    ),
    "413": _error(
        "more bytes, after decompression, more events or more values than one request may have.",
        "REQUEST_TOO_LARGE",
        "The body is larger than 10485760 bytes, the most that one request may have.",
    ),
    "415": _error(
        "a Content-Type or Content-Encoding that is not listed here.",
        "REQUEST_TYPE_UNSUPPORTED",
        "The Content-Type is text/html; it must be application/json or text/plain.",
    ),
    "422": _error(
        "the `Idempotency-Key` was sent before with another body.",
        "REQUEST_KEY_REUSED",
        "This Idempotency-Key was sent before with another body.",
    ),
    "429": _error(
        "more requests than may come in a minute; nothing was stored.",
        "REQUEST_RATE_LIMITED",
        "At most 600 requests a minute may come from one address. Nothing was stored; try again in 12 seconds.",
    )
    | {"headers": {"Retry-After": _part("Seconds to wait.", required=True, type="integer", minimum=1)}},
    "500": _error("a fault of the service's own.", GENERAL, EVENTS_FAILED),
    "503": _error(
        "the database cannot be reached in time, or more is under way than may be; nothing was stored.",
        GENERAL,
        "The database cannot be reached. Nothing was stored; try again.",
        headers=("Retry-After",),
    ),
}
LINK_ERROR = _error(
    "the link was changed, or has expired.",
    "REQUEST_AUTHORIZATION_FAILURE",
    "This link has expired: links work for 15 minutes. Ask for the report's file again.",
)
VERSION_ERROR = _error("no such version.", "REQUEST_NOT_FOUND", "There is nothing at /tally.js.")
CHANGES_ERROR = _error(
    "events that follow the cursor cannot be read any more. The message says how to go on.",
    "EVENT_CHANGES_GET_FAILED",
    "Events after this cursor were erased before they were read, by their age or on request. To go on with those that "
    "remain, send after=4711-20-8d0f3f6e.",
)
IN_ADDRESS = "An ingest key in the address, for browsers' beacons, which can set no header."
AS_USER = "An ingest key as the user; the password may be anything."
KEY_SCHEMES: dict[str, JsonObject] = {
    "Key": {"type": "http", "scheme": "bearer", "description": "An ingest key."},
    "KeyAsUser": {"type": "http", "scheme": "basic", "description": AS_USER},
    "KeyInAddress": {"type": "apiKey", "in": "query", "name": "key", "description": IN_ADDRESS},
}
KEY_UNAUTHORIZED = ERRORS["401"] | {
    "description": "The ingest key is missing or wrong where one is asked for, or revoked."
}
BASIC_SCHEME: JsonObject = {
    "type": "http",
    "scheme": "basic",
    "description": "A user's name and password, or any name and an API token as the password.",
}
API_TOKEN_SCHEME: JsonObject = {"type": "http", "scheme": "bearer", "description": "An API token (`tly_…`) of a user."}
TOKEN_SCHEME: JsonObject = {
    "type": "http",
    "scheme": "bearer",
    "description": "METRICS_TOKEN, or an API token with the scope admin:system.",
}
TOKEN_UNAUTHORIZED = ERRORS["401"] | {"description": "The token is missing or wrong."}
KEY_FORBIDDEN = _error(
    "the key is bound to other customers or products than those of an event; nothing was stored.",
    FORBIDDEN,
    "The key web may not send events[2].customer; nothing was stored.",
    FieldError('events[2].customer is "FERNHILL"; with this key it must be "BARCHART".', FORBIDDEN),
)
DOWNLOADS_ERROR = _error(
    "too many files are being downloaded at this moment.",
    "REQUEST_RATE_LIMITED",
    "128 files are being downloaded at this moment. Try again.",
    headers=("Retry-After",),
)
LOGIN_ERROR = _error(
    "too many wrong passwords came from this address, or too many reports of the user wait.",
    "REQUEST_RATE_LIMITED",
    "Too many wrong passwords came from your address. Try again in 42 seconds.",
    headers=("Retry-After",),
)
MATCH_ERROR = _error(
    "the file is another one than `If-Match` names.",
    "REQUEST_INPUT_MALFORMED",
    "The file is another one than If-Match names.",
)
RANGE_ERROR = _error(
    "the file has no such part.", "REQUEST_INPUT_MALFORMED", "The server cannot provide the requested range."
)
