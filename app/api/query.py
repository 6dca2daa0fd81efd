"""Validation of query parameters. All functions raise `InputInvalid`, which names the parameter and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from flask import current_app, request

from app.api.openapi.operations import OPERATIONS
from app.exceptions import FieldError, InputInvalid
from app.schemas.reports import FilterSchema
from app.support.paths import is_api

FILTER = ("customer", "product", "types", "start", "end")
MORE = ("context", "value", "batch")  # of lists of events
REPEATABLE = frozenset({"types"})
PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
HINTS = 10  # unknown parameters for which the nearest known ones are suggested


def check_parameters() -> None:
    """Reject parameters that the request's route does not accept, or that occur twice."""
    if not request.query_string or request.endpoint is None or not is_api(request.path):
        return
    declared = OPERATIONS.get(current_app.view_functions[request.endpoint])
    known = declared.query if declared else ()
    if known is None:
        return
    field_errors: list[FieldError] = []
    for name, values in request.args.lists():
        if name not in known:
            is_compared = len(field_errors) < HINTS
            nearest = difflib.get_close_matches(name[:60].lower(), known, 1, 0.5) if is_compared else []
            hint = f"did you mean {nearest[0]}" if nearest else f"it takes {', '.join(known) or 'none'}"
            field_errors.append(FieldError(f'"{name[:60]}" is not a parameter of {request.path}; {hint}.'))
        elif len(values) > 1 and name not in REPEATABLE:
            field_errors.append(FieldError(f"{name} comes {len(values)} times; it may come once."))
    if field_errors:
        raise InputInvalid("A query parameter is wrong.", field_errors)


def number(name: str, default: int, maximum: int, minimum: int = 1) -> int:
    """Return a parameter as a whole number from `minimum` to `maximum`, or the default if it was not sent."""
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and minimum <= int(text) <= maximum):
        raise _invalid(name, text, f"a whole number from {minimum} to {maximum}")
    return int(text)


def choice(name: str, words: Sequence[str]) -> str | None:
    """Return a parameter that must be one of `words`, or None if it was not sent."""
    text = request.args.get(name)
    if text is not None and text not in words:
        raise _invalid(name, text, " or ".join(words))
    return text


def cursor(name: str) -> int | None:
    """Return a parameter with the `next` value of an earlier page, or None if it was not sent."""
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _invalid(name, text, "the value of next in an earlier answer")
    return int(text)


def _invalid(name: str, text: str, allowed: str) -> InputInvalid:
    message = f'{name} is "{text[:60]}"; it must be {allowed}.'
    return InputInvalid("A query parameter is wrong.", [FieldError(message)])


def load_query(schema: FilterSchema, lists: Sequence[str]) -> dict[str, Any]:
    """Return the query parameters validated by a schema.

    Args:
        lists: the parameters that may be repeated."""
    given: dict[str, object] = {key: value for key, value in request.args.items() if key not in lists}
    given |= {key: request.args.getlist(key) for key in lists if key in request.args}
    return schema.load_query(given)
