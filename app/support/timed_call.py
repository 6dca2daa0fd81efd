"""Asking what may never answer: a server that hangs must not take along whoever only wants to tell that it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class TimedCall(Generic[Value]):
    """One question, asked in a thread of its own. While it has no answer nobody asks it again, and nobody waits long.

    Args:
        ask: the question.
        seconds: how long its answer may take.
        release: called in the thread afterwards, to release what the question used.
    """

    def __init__(self, ask: Callable[[], Value], seconds: float, release: Callable[[], None] = lambda: None) -> None:
        self._ask = ask
        self._release = release
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answer: Future[Value] = Future()
        self._asked: float | None = None

    def answer(self) -> Value:
        """The answer, now or of whoever asks at this moment.

        Raises:
            TimeoutError: there is none in time.
            Exception: what the question raised.
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
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answer.set_exception(error)
        else:
            answer.set_result(found)
        finally:
            self._release()
