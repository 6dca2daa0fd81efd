"""Small files in DATA_DIR that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from app.exceptions import StorageFailed
from app.support.durability import sync

FILE_MODE = 0o600


def write(path: Path, data: bytes) -> None:
    """Write a file, atomically and durably.

    Raises:
        StorageFailed: the folder cannot be written to.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync(path.parent)
    except OSError as error:
        raise StorageFailed(f"DATA_DIR: cannot write {path}: {error.strerror}.") from error


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    try:
        path.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise StorageFailed(f"DATA_DIR: cannot remove {path}: {error.strerror}.") from error
