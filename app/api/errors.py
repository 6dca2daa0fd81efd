"""API errors in the form that SDKs read: an array of trees of `{"value": {"code", "message"}, "children": […]}`.

Only this module maps domain errors and Flask's errors to a status and a code.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from flask import Flask, Response, current_app, make_response, request
from werkzeug.exceptions import BadHost, HTTPException, RequestedRangeNotSatisfiable
from werkzeug.wrappers import Response as BaseResponse

from app import exceptions as errors
from app.api.responses import JsonResponse
from app.auth import unauthorized
from app.support.paths import is_api

MAX_CHILDREN = 100
RETRY_SECONDS = "5"
GENERAL = "REQUEST_GENERAL_FAILURE"
NOT_FOUND = "REQUEST_NOT_FOUND"
EVENTS_FAILED = "An attempt to accept new events failed for unspecified reason(s)."
FAILED = "The service failed for a reason of its own. The request's id names it in the log."

# Status and code of each class. The first match decides, so subclasses precede their base classes.
TABLE: dict[tuple[type[errors.TallyError], ...], tuple[int, str]] = {
    (errors.InputInvalid, errors.BodyMalformed): (400, "REQUEST_INPUT_MALFORMED"),
    (errors.BodyTooLarge,): (413, "REQUEST_TOO_LARGE"),
    (errors.TypeUnsupported,): (415, "REQUEST_TYPE_UNSUPPORTED"),
    (errors.KeyReused,): (422, "REQUEST_KEY_REUSED"),
    (errors.RateLimited,): (429, "REQUEST_RATE_LIMITED"),
    (errors.Forbidden, errors.LinkInvalid): (403, errors.FORBIDDEN),
    (errors.KeyUnknown, errors.CatalogUnknown, errors.AccountUnknown): (404, NOT_FOUND),
    (errors.SessionUnknown, errors.TokenUnknown, errors.ViewUnknown, errors.ChannelUnknown): (404, NOT_FOUND),
    (errors.AlertUnknown, errors.FormUnknown, errors.AuditUnknown): (404, NOT_FOUND),
    (errors.EventUnknown, errors.RejectedUnknown, errors.ScheduleUnknown, errors.WebhookUnknown): (404, NOT_FOUND),
    (errors.ChangesLost,): (410, "EVENT_CHANGES_GET_FAILED"),
    (errors.ReportUnknown,): (404, "EVENT_JOB_GET_FAILED_NO_JOB"),
    (errors.ReportRunning,): (409, "EVENT_JOB_GET_FAILED_RUNNING"),
    (errors.ReportExpired, errors.FileMissing): (410, "EVENT_JOB_GET_FAILED"),
    (errors.ReportFailed, errors.ReportEnded): (409, "EVENT_JOB_GET_FAILED"),
    (errors.StoreUnavailable, errors.QueueUnavailable, errors.Overloaded): (503, GENERAL),
    (errors.StorageFailed, errors.SearchIncomplete): (503, GENERAL),
}
HTTP_CODES = {
    404: (NOT_FOUND, "There is nothing at {path}."),
    405: ("REQUEST_METHOD_NOT_ALLOWED", "{path} does not take {method}."),
}

log = structlog.get_logger(__name__)


def register(app: Flask) -> None:
    """Handle every error: with a tree on API paths, and with a page on other paths."""
    app.register_error_handler(errors.Unauthenticated, lambda error: unauthorized(401))
    app.register_error_handler(errors.TallyError, _handle_tally_error)
    app.register_error_handler(HTTPException, _handle_http_error)
    app.register_error_handler(Exception, _unexpected)


def tree(code: str, message: str, field_errors: Sequence[errors.FieldError] = ()) -> list[dict[str, object]]:
    """Return the array of an error's body, with at most 100 children and one more that counts the rest."""
    children = [_node(one.code, one.message) for one in field_errors[:MAX_CHILDREN]]
    rest = len(field_errors) - MAX_CHILDREN
    if rest > 0:
        children.append(_node(errors.MALFORMED, f"And {rest} more."))
    return [{**_node(code, message), "children": children}]


def _node(code: str, message: str) -> dict[str, object]:
    return {"value": {"code": code, "message": message}, "children": []}


def _handle_tally_error(error: errors.TallyError) -> Response:
    found = next((answer for classes, answer in TABLE.items() if isinstance(error, classes)), None)
    if found is None:
        return _unexpected(error)
    status, code = found
    if status == 503:
        log.warning("unavailable", path=request.path, reason=str(error))
    response: Response
    if is_api(request.path):
        response = JsonResponse(tree(code, _sentence(error, status), getattr(error, "field_errors", ())), status)
    else:
        response = _page(status, _plain(error))
    if status in (429, 503):
        response.headers["Retry-After"] = str(getattr(error, "seconds", RETRY_SECONDS))
    return response


def _sentence(error: errors.TallyError, status: int) -> str:
    if status != 503:
        return str(error)
    if isinstance(error, errors.StorageFailed):
        return f"{error} Try again."
    if isinstance(error, errors.OutcomeUnknown):
        return f"{_plain(error)} Try again with the same Idempotency-Key: with one, nothing is stored twice."
    return f"{_plain(error)} Nothing was stored; try again."


def _plain(error: errors.TallyError) -> str:
    """Return an error message without the details that only the log may contain."""
    return error.plain if isinstance(error, errors.StoreUnavailable | errors.QueueUnavailable) else str(error)


def _handle_http_error(error: HTTPException) -> BaseResponse | HTTPException:
    if error.code is None or error.code < 400:
        return error
    response: BaseResponse
    if is_api(request.path):
        code, message = HTTP_CODES.get(error.code, ("REQUEST_INPUT_MALFORMED", error.description or error.name))
        response = JsonResponse(tree(code, message.format(path=request.path, method=request.method)), error.code)
    elif isinstance(error, BadHost):
        response = error.get_response()  # no URL can be built for this host, so no page either
    else:
        response = _page(error.code)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    if isinstance(error, RequestedRangeNotSatisfiable):
        response.headers["Content-Range"] = f"{error.units} */{error.length}"
    return response


def _unexpected(error: Exception) -> Response:
    """Log an unexpected error in full, and return a response with one sentence."""
    log.exception("request failed", path=request.path, exc_info=error)
    if not is_api(request.path):
        return _page(500)
    message = EVENTS_FAILED if request.path == "/events" else FAILED
    return JsonResponse(tree(GENERAL, message), 500)


def _page(status: int, message: str | None = None) -> Response:
    """Return the error page of the dashboard."""
    return make_response(current_app.extensions["error_page"](status, message))
