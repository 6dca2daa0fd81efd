"""Report files on this machine's disk.

A file is written under another name and moved to its own when it is whole and on disk, so that nobody ever reads half
of one. Keys are made by the service (`<uuid>.<token>.csv`), never by a request; `_path` refuses any other.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

KEY = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]+\.[a-z.]+")


class Upload:
    """A file being written. Either `commit` or `abort` ends it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._file: BinaryIO = self._partial.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Make the file appear, whole and on disk."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._path)
        _sync_folder(self._path.parent)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


class LocalStorage:
    """Files in one folder.

    Args:
        folder: made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, key: str) -> Upload:
        """Begin a file.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        return Upload(self._path(key))

    def path(self, key: str) -> Path | None:
        """Where a whole file stands, or None where there is none."""
        path = self._path(key)
        return path if path.is_file() else None

    def delete(self, key: str) -> None:
        """Remove a file; nothing happens where there is none."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of a report file")
        return self._folder / key


def _sync_folder(folder: Path) -> None:
    """Without this the new name itself could be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
