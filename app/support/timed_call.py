"""Calls with a time limit, so that a server that hangs does not block the code that only reports its state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


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
                self._answer, self._asked = Future(), time.monotonic()
                threading.Thread(target=self._run, args=(self._answer,), name="asking", daemon=True).start()
            answer, left = self._answer, self._asked + self._seconds - time.monotonic()
        return answer.result(max(0, left))

    def _run(self, answer: Future[Value]) -> None:
        try:
            found = self._ask()
        except Exception as error:  # noqa: BLE001 - it is raised in `answer`
            answer.set_exception(error)
        else:
            answer.set_result(found)
        finally:
            self._release()
