"""Files of backups, in a folder or under a prefix of an S3-compatible store.

Unlike report files, they have names with slashes: the backup's, and the file's in it. On a disk only their owner may
read them, because they contain the secret key.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from app.exceptions import FileMissing, SettingInvalid, StorageFailed
from app.storage import Upload, import_s3, prefix_of
from app.storage.local import LocalUpload
from app.support.durability import make_folder
from app.support.file_urls import unquoted

FOLDER_MODE, FILE_MODE = 0o700, 0o600
PARTIAL = ".partial"
READ_BYTES = 1024 * 1024


class Place(Protocol):
    """Place of backups. Every method raises StorageFailed if the place cannot be used."""

    def create(self, name: str) -> Upload:
        """Begin a file."""

    def open(self, name: str) -> BinaryIO:
        """Open a file as a stream.

        Raises:
            FileMissing: there is no such file.
        """

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all files that begin with a prefix, in order."""

    def remove(self, prefix: str) -> None:
        """Remove the files of a backup. `prefix` is its name."""


def open_place(url: str, endpoint: str = "") -> Place:
    """Return the place that a path, `file:///folder` or `s3://bucket/prefix` names, without using it.

    Raises:
        SettingInvalid: the URL is neither, or names S3 and boto3 is not installed.
    """
    if "://" not in url:
        return LocalPlace(Path(url).absolute())
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc:
        return LocalPlace(unquoted(parts.path))
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise SettingInvalid(f"{url} is not a place for backups. Name a folder, file:///folder or s3://bucket/prefix.")
    s3 = import_s3("app.storage.s3.place", "Backups in S3 need")
    place: Place = s3.S3Place(s3.Store(endpoint), parts.netloc, prefix_of(parts.path))
    return place


class LocalPlace:
    """Folder with backups; see `Place`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str) -> Upload:
        with _place_errors():
            path = self._path(name)
            make_folder(path.parent, FOLDER_MODE)
            return LocalArchiveUpload(path)

    def open(self, name: str) -> BinaryIO:
        with _place_errors():
            try:
                return self._path(name).open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise FileMissing(f"{name} is missing.") from None

    def names(self, prefix: str = "") -> list[str]:
        with _place_errors():
            top = prefix.partition("/")[0]
            found = (self._folder / top).rglob("*") if "/" in prefix else self._folder.rglob("*")
            names = [path.relative_to(self._folder).as_posix() for path in found if path.is_file()]
            return sorted(name for name in names if name.startswith(prefix))

    def remove(self, prefix: str) -> None:
        """Remove the folder of a backup, its manifest first, so that the rest is not taken for a backup."""
        with _place_errors():
            folder = self._path(prefix.rstrip("/"))
            (folder / "manifest.json").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)

    def _path(self, name: str) -> Path:
        if not name or ".." in name.split("/") or name.startswith("/"):
            raise ValueError(f"{name!r} is not the name of a file of a backup")
        return self._folder / name


class LocalArchiveUpload(LocalUpload):
    """File of a backup being written on a disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, path.with_name(path.name + PARTIAL), FILE_MODE, _place_errors)

    def abort(self) -> None:
        with suppress(OSError):
            self._file.close()
            self._partial.unlink(missing_ok=True)


class Hashing(io.RawIOBase):
    """Stream that hashes and counts what is read from another.

    Attributes:
        bytes: the number of bytes read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._digest = hashlib.sha256()
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._digest.update(data)
        self.bytes += len(data)
        return len(data)

    def finish(self) -> str:
        """Read the rest, and return the SHA-256 of everything in hexadecimal."""
        while self.read(READ_BYTES):
            pass
        return self._digest.hexdigest()

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def _place_errors() -> Iterator[None]:
    """Raise StorageFailed with a readable message instead of the system's errors."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StorageFailed(f"The folder of backups cannot be used: {error.strerror}{where}.") from error
