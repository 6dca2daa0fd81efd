"""Query parameters, checked: an error names the parameter and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from app.exceptions import Fault, InputInvalid
from app.schemas.reports import FilterSchema


def number(name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`.

    Raises:
        InputInvalid: it is something else.
    """
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= most):
        raise _wrong(name, text, f"a whole number from 1 to {most}")
    return int(text)


def choice(name: str, words: Sequence[str]) -> str | None:
    """One of a few words, or None where it was not sent.

    Raises:
        InputInvalid: it is something else.
    """
    text = request.args.get(name)
    if text is not None and text not in words:
        raise _wrong(name, text, " or ".join(words))
    return text


def cursor(name: str) -> int | None:
    """The `next` of an earlier page, or None where it was not sent.

    Raises:
        InputInvalid: it is something else.
    """
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _wrong(name, text, "the value of next in an earlier answer")
    return int(text)


def _wrong(name: str, text: str, allowed: str) -> InputInvalid:
    message = f'{name} is "{text[:60]}"; it must be {allowed}.'
    return InputInvalid("A query parameter is wrong.", [Fault(message)])


def load_query(schema: FilterSchema, lists: Sequence[str]) -> dict[str, object]:
    """The query's parameters as a schema has them.

    Args:
        lists: those that may be repeated.

    Raises:
        InputInvalid: one is wrong.
    """
    given: dict[str, object] = {key: value for key, value in request.args.items() if key not in lists}
    given |= {key: request.args.getlist(key) for key in lists if key in request.args}
    return schema.load_query(given)
