"""Calls to a store that may hang for a minute, made in threads of their own: whoever waits for one can be told to stop.

The connection of a call that nobody waits for any more cannot be cut, as boto3 does not give it away. Its thread ends
with the call's own time-outs, or with the process, whatever comes first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

Value = TypeVar("Value")
Check = Callable[[], None]  # raises when it is time to stop

BEAT_SECONDS = 0.1  # between two looks at whether it is


def never_stop() -> None:
    """A check that lets everything take its time."""


def start(call: Callable[..., Value], *args: object, **kwargs: object) -> Future[Value]:
    """Begin a call."""
    future: Future[Value] = Future()
    threading.Thread(target=_run, args=(future, call, args, kwargs), name="s3", daemon=True).start()
    return future


def until_one_ends(calls: Iterable[Future], check: Check) -> None:
    """Return as soon as one of them has ended, however; raise what `check` raises."""
    while not wait(calls, BEAT_SECONDS, FIRST_COMPLETED).done:
        check()


def _run(future: Future[Value], call: Callable[..., Value], args: tuple, kwargs: dict) -> None:
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
        future.set_exception(error)
