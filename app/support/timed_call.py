"""Calls with a time limit, so that a server that hangs does not block the code that only reports its state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


def start_call(call: Callable[..., Value], *args: Any, **kwargs: Any) -> Future[Value]:
    """Start a call in a thread of its own, which does not keep the process alive, and return its future."""
    future: Future[Value] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    threading.Thread(target=run, name="call", daemon=True).start()
    return future


class TimedCall(Generic[Value]):
    """Call that runs in its own thread. Callers share a call in progress, and wait for it only up to the time limit.

    Args:
        ask: the function to call.
        seconds: its time limit.
        release: called in the thread afterwards, to release what the call used.
    """

    def __init__(self, ask: Callable[[], Value], seconds: float, release: Callable[[], None] = lambda: None) -> None:
        self._ask = ask
        self._release = release
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answer: Future[Value] = Future()
        self._asked: float | None = None

    def answer(self) -> Value:
        """Return the result of a new call, or of the call in progress.

        Raises:
            TimeoutError: there is no result in time.
            Exception: what the call raised.
        """
        with self._lock:
            if self._asked is None or self._answer.done():
                self._answer, self._asked = start_call(self._run), time.monotonic()
            answer, left = self._answer, self._asked + self._seconds - time.monotonic()
        return answer.result(max(0, left))

    def _run(self) -> Value:
        try:
            return self._ask()
        finally:
            self._release()
