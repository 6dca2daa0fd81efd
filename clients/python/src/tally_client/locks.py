"""Locks of files between processes, none of which a forked process inherits."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None

# Held by a thread that holds a file, and during a fork: a descriptor in the new process would hold the file, too.
_in_use = threading.Lock()
with contextlib.suppress(AttributeError):  # not on Windows
    os.register_at_fork(before=_in_use.acquire, after_in_parent=_in_use.release, after_in_child=_in_use.release)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes, and other threads, out of what a file protects."""
    if fcntl is None:
        yield
        return
    with _in_use:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def lock_forever(path: Path) -> int:
    """Lock a new file until its descriptor, which is returned, is closed in every process."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def try_lock(path: Path) -> int | None:
    """Lock a file, and return its descriptor, or None if the file does not exist.

    Raises:
        BlockingIOError: a process holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
