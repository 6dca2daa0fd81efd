"""Report files on this machine's disk.

A file is written under a temporary name and renamed when it is complete and on disk, so that no reader ever sees a
partial file. The service creates the keys (`<uuid>.<token>.csv`), never a request; `_path` rejects any other.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import structlog

from app.exceptions import FileMissing, StorageFailed
from app.support.durability import make_folder, sync

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

KEY = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]+(?:\.[a-z]+)+")
PARTIAL = re.compile(rf"\.({KEY.pattern})\.partial")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_BYTES = 256 * 1024
FILE_MODE = 0o666  # before the umask

log = structlog.get_logger(__name__)


class LocalUpload:
    """File being written under a temporary name; see `app.storage.Upload`. `errors` translates the system's."""

    def __init__(
        self, path: Path, partial: Path, mode: int, errors: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._path = path
        self._partial = partial
        self._errors = errors
        self._file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb", buffering=0)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with self._errors():
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> None:
        with self._errors():
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)
            sync(self._path.parent)

    def abort(self) -> None:
        try:
            self._file.close()
            self._partial.unlink(missing_ok=True)
        except OSError as error:
            log.warning("an unfinished report file stays for the scheduler", reason=str(error))


class LocalStorage:
    """Files in a folder, which is created with the first file; see `app.storage.Storage`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def probe(self) -> None:
        folder = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise StorageFailed(f"The folder of report files, {self._folder}, cannot be written to.")

    def hurried(self) -> LocalStorage:
        return self  # a disk responds at once or not at all

    def create(self, key: str, media_type: str | None = None, check: Callable[[], None] | None = None) -> LocalUpload:
        path = self._path(key)  # the media type is not stored, because only the service serves the file
        with _storage_errors():
            make_folder(self._folder)
            return LocalUpload(path, _partial(path), FILE_MODE, _storage_errors)

    def open(self, key: str, check: Callable[[], None] | None = None, etag: str | None = None) -> BinaryIO:
        path = self._path(key)
        with _storage_errors():
            try:
                return io.BufferedReader(_Reader(path), READ_BYTES)
            except FileNotFoundError:
                raise FileMissing("The report's file is not in the folder of report files.") from None

    def is_same(self, key: str, etag: str) -> bool:
        return True  # only Tally writes under the key

    def size(self, key: str) -> int | None:
        path = self.path(key)
        with _storage_errors(), suppress(FileNotFoundError):
            return path.stat().st_size if path else None
        return None

    def discard(self, key: str) -> None:
        path = self._path(key)
        with _storage_errors():
            _partial(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        with _storage_errors():
            entries = list(os.scandir(self._folder)) if self._folder.is_dir() else []
            for entry in entries:
                partial = PARTIAL.fullmatch(entry.name)
                key = partial[1] if partial else entry.name
                if key.startswith(begin) and KEY.fullmatch(key):
                    with suppress(FileNotFoundError):  # the file was completed or removed in the meantime
                        yield key, entry.stat().st_mtime_ns // 1_000_000

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str | None:
        self._path(key)
        return None  # the service serves these files itself

    def path(self, key: str) -> Path | None:
        path = self._path(key)
        with _storage_errors():
            return path if path.is_file() else None

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of a report file")
        return self._folder / key


class _Reader(io.FileIO):
    """File that raises StorageFailed instead of the system's errors."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        with _storage_errors():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with _storage_errors():
            return super().readall()


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raise StorageFailed with a readable message instead of the system's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFailed("The disk that report files are written to is full.") from error
        reason = error.strerror or type(error).__name__
        raise StorageFailed(f"The folder of report files cannot be used: {reason}.") from error


def _partial(path: Path) -> Path:
    """Return the path of a file until it is complete."""
    return path.with_name(f".{path.name}.partial")
