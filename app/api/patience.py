"""Waiting for a client's bytes, but not for ever.

WSGI knows no time-out: a server's `read` returns when the bytes are there or the client is gone, and nothing can
interrupt it. So the waiting is left to another thread, and given up together with it; it ends when the client goes.
Another thread costs some 30 µs, a tenth of a small request: a few requests at a time therefore wait in their own,
as many as can be missed even if they wait for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

FEW = 8
T = TypeVar("T")

_few = threading.BoundedSemaphore(FEW)


def read(source: Callable[[], bytes], seconds: float) -> bytes:
    """What `source` reads.

    Raises:
        TimeoutError: it took longer, and more than a few others wait, too.
    """
    if not _few.acquire(blocking=False):
        return apart(source, seconds)
    try:
        return source()
    finally:
        _few.release()


def apart(work: Callable[[], T], seconds: float) -> T:
    """Do some work in a thread of its own.

    Raises:
        TimeoutError: it took longer. The thread goes on for as long as the work takes.
    """
    done: Future[T] = Future()
    threading.Thread(target=_fulfil, args=(done, work), name="patience", daemon=True).start()
    return done.result(max(0.0, seconds))


def _fulfil(done: Future, work: Callable[[], object]) -> None:
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 - whoever waits gets it
        done.set_exception(error)
