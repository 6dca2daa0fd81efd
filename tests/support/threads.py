"""Actions at the same moment, as by the threads of a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from app.store.database import release

SECONDS = 60  # until a thread that holds is considered dead


def at_once(count: int, action: Callable[[int], object]) -> list[object]:
    """Return the results of `action(0)` … `action(count - 1)`, each in a thread with its own connections, started
    together.
    """
    together = threading.Barrier(count)

    def begin(number: int) -> object:
        together.wait()
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: _released(begin, number), range(count)))


class BackgroundThreads:
    """Threads that run beside the test. The context manager waits for them on exit."""

    def __enter__(self) -> BackgroundThreads:
        self._pool = ThreadPoolExecutor(16)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def start(self, action: Callable, *args: object, **kwargs: object) -> Future:
        return self._pool.submit(_released, action, *args, **kwargs)


class HoldPoint:
    """A place in the code where a thread waits until the test resumes it."""

    def __init__(self) -> None:
        self._reached, self._resumed = threading.Event(), threading.Event()

    def hold(self) -> None:
        if not self._reached.is_set():
            self._reached.set()
            assert self._resumed.wait(SECONDS)

    def until_reached(self) -> None:
        assert self._reached.wait(SECONDS)

    def resume(self) -> None:
        self._resumed.set()


def _released(action: Callable, *args: object, **kwargs: object) -> object:
    try:
        return action(*args, **kwargs)
    finally:
        release()
