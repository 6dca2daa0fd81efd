"""Report files on this machine's disk.

A file is written under another name and moved to its own when it is whole and on disk, so that nobody ever reads half
of one. Keys are made by the service (`<uuid>.<token>.csv`), never by a request; `_path` refuses any other.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from app.exceptions import FileMissing, StorageFailed

KEY = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]+(?:\.[a-z]+)+")
PARTIAL = re.compile(rf"\.({KEY.pattern})\.partial")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_BYTES = 256 * 1024

log = structlog.get_logger(__name__)


class LocalUpload:
    """A file being written; see `app.storage.Upload`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = _partial(path)
        self._file: BinaryIO = self._partial.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        view = memoryview(data)
        with _told():
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Make the file appear, whole and on disk."""
        with _told():
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)
            _sync_folder(self._path.parent)

    def abort(self) -> None:
        """Leave nothing behind."""
        try:
            self._file.close()
            self._partial.unlink(missing_ok=True)
        except OSError as error:
            log.warning("an unfinished report file stays for the sweeper", reason=str(error))


class LocalStorage:
    """Files in one folder; see `app.storage.Storage`.

    Args:
        folder: made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def probe(self) -> None:
        """Look whether the folder can be written to, or else be made."""
        folder = _existing(self._folder)
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise StorageFailed(f"The folder of report files, {self._folder}, cannot be written to.")

    def hurried(self) -> LocalStorage:
        """The same: a disk answers at once, or nothing can be done about it."""
        return self

    def create(self, key: str, media_type: str | None = None, check: Callable[[], None] | None = None) -> LocalUpload:
        """Begin a file; nobody else serves it, so its media type is told when it is."""
        path = self._path(key)
        with _told():
            _make_folder(self._folder)
            return LocalUpload(path)

    def open(self, key: str, check: Callable[[], None] | None = None, etag: str | None = None) -> BinaryIO:
        """Open a file for reading, without checking the ETag, because only Tally writes under its key."""
        path = self._path(key)
        with _told():
            try:
                return io.BufferedReader(_Reader(path), READ_BYTES)
            except FileNotFoundError:
                raise FileMissing("The report's file is not in the folder of report files.") from None

    def is_same(self, key: str, etag: str) -> bool:
        """Return True, because only Tally writes under the key."""
        return True

    def size(self, key: str) -> int | None:
        """How many bytes a whole file has, or None where there is none."""
        path = self.path(key)
        with _told(), suppress(FileNotFoundError):
            return path.stat().st_size if path else None
        return None

    def delete(self, key: str) -> None:
        """Remove a whole file; nothing happens where there is none."""
        path = self._path(key)
        with _told():
            path.unlink(missing_ok=True)

    def discard(self, key: str) -> None:
        """Remove a file, and what was written of it and never committed."""
        path = self._path(key)
        with _told():
            _partial(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """The key of each file, finished or not, and when it was last written to."""
        with _told():
            entries = list(os.scandir(self._folder)) if self._folder.is_dir() else []
            for entry in entries:
                partial = PARTIAL.fullmatch(entry.name)
                key = partial[1] if partial else entry.name
                if key.startswith(begin) and KEY.fullmatch(key):
                    with suppress(FileNotFoundError):  # it was ended or removed meanwhile
                        yield key, entry.stat().st_mtime_ns // 1_000_000

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str | None:
        """None: the service serves these files itself."""
        self._path(key)
        return None

    def path(self, key: str) -> Path | None:
        """Where a whole file stands, or None where there is none."""
        path = self._path(key)
        with _told():
            return path if path.is_file() else None

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of a report file")
        return self._folder / key


class _Reader(io.FileIO):
    """A file whose faults are told as the storage's."""

    def readinto(self, buffer: memoryview) -> int | None:
        """Read as much as there is at once."""
        with _told():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        """Read all that is left."""
        with _told():
            return super().readall()


@contextmanager
def _told() -> Iterator[None]:
    """Tell the system's errors in the domain's words."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(_sentence(error)) from error


def _sentence(error: OSError) -> str:
    if error.errno in FULL:
        return "The disk that report files are written to is full."
    return f"The folder of report files cannot be used: {error.strerror or type(error).__name__}."


def _existing(path: Path) -> Path:
    """A path, or the nearest above it that is there."""
    return path if path.exists() else _existing(path.parent)


def _partial(path: Path) -> Path:
    """Where a file stands until it is whole."""
    return path.with_name(f".{path.name}.partial")


def _make_folder(folder: Path) -> None:
    """Make a folder, and be sure that its own name outlives a power cut, too."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Without this the new name itself could be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
