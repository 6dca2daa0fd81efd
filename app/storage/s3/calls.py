"""Calls to a store that may hang for a minute, made in their own threads, so that a waiting caller can be stopped.

The connection of an abandoned call cannot be closed, because boto3 does not expose it. Its thread ends with the call's
own timeouts or with the process, whichever comes first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

Value = TypeVar("Value")
Check = Callable[[], None]  # raises when the attempt must stop

BEAT_SECONDS = 0.1  # between two calls of the check


def never_stop() -> None:
    """Check that never requests a stop."""


def start(call: Callable[..., Value], *args: object, **kwargs: object) -> Future[Value]:
    """Start a call in a thread and return its future."""
    future: Future[Value] = Future()
    threading.Thread(target=_run, args=(future, call, args, kwargs), name="s3", daemon=True).start()
    return future


def until_one_ends(calls: Iterable[Future], check: Check) -> None:
    """Return as soon as one of the calls has ended, with or without an error. Raise what `check` raises."""
    while not wait(calls, BEAT_SECONDS, FIRST_COMPLETED).done:
        check()


def _run(future: Future[Value], call: Callable[..., Value], args: tuple, kwargs: dict) -> None:
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
        future.set_exception(error)
