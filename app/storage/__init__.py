"""Where report files live, and the signed links that lead to them: the only room that touches files of reports.

A file has a key that the service made: `<job's uuid>.<token in hexadecimal>.<ending>`. It is written once, by one
upload, and is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from app.storage.local import LocalStorage


class Upload(Protocol):
    """A file being written, by one thread. Either `commit` or `abort` ends it.

    `write` and `commit` raise StorageFailed; then the file is not there, and `abort` is still to be called.
    """

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def commit(self) -> None:
        """Make the file appear: all at once, whole, and to stay."""

    def abort(self) -> None:
        """Leave nothing behind; what cannot be removed now is logged and left to the sweeper.

        It may come twice, and after the end. It never raises, as what it follows is the error to be told.
        """


class Storage(Protocol):
    """Files by their keys. Every method but `link` raises StorageFailed where a retry may mend it.

    Any number of threads, processes and machines may use one at a time.
    """

    def create(self, key: str) -> Upload:
        """Begin a file. Uploads of different keys do not know of each other."""

    def open(self, key: str) -> BinaryIO:
        """A whole file as a stream, to be closed by whoever reads it; only a block of it is in memory.

        Raises:
            FileMissing: there is none.
        """

    def size(self, key: str) -> int | None:
        """How many bytes a whole file has, or None where there is none."""

    def delete(self, key: str) -> None:
        """Remove a whole file; nothing happens where there is none."""

    def discard(self, key: str) -> None:
        """Remove a file, and what was written of it and never committed: by a process that died, say."""

    def contents(self) -> Iterator[tuple[str, int]]:
        """What is here of ours, finished or not: its key, and the time in milliseconds.

        The time is when it was last written to or, of an unfinished one in S3, when it was begun. A file that is
        there both finished and not comes twice. What is not a report's file is not told.
        """

    def link(self, key: str, name: str, media_type: str, seconds: int) -> str | None:
        """An address that whoever has it reads the file from, or None where the service serves it itself.

        Args:
            name: what the file is called when it is saved.
            seconds: how long the address works.
        """

    def path(self, key: str) -> Path | None:
        """Where a whole file stands on this machine, or None where it does not."""


def open_storage(url: str) -> Storage:
    """The storage of `file:///folder`; nothing is written yet."""
    return LocalStorage(Path(unquote(urlsplit(url).path)))
