"""Spool: records on this machine's disk while their destination is unavailable.

The spool consists of append-only files in a folder. When `append` returns, a record is written and fsynced. A record
that a crash has cut fails its checksum and counts as never written, because its sender got no confirmation. Each
process appends to its own file, which it locks; any process may empty a file that no living process holds.

A record in a file: its length, its weight (how much it counts for in `waiting`) and the CRC-32 of its data, 4 bytes
each and big-endian, then the data.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.storage import private_files
from app.support.durability import sync

HEAD = struct.Struct(">III")
SUFFIX = ".spool"
DAMAGED = ".damaged"
RESTORABLE = re.compile(rf"[0-9]+-[0-9]+{re.escape(SUFFIX)}")
MAX_FILE_BYTES = 64 * 1024 * 1024  # after that a new file begins, so that a long outage is emptied in steps


class SpoolFiles:
    """Spool of a process in a folder, and the files that other processes left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._read: dict[Path, int] = {}  # how far `news` has read each file

    def append(self, records: Sequence[tuple[bytes, int]]) -> None:
        """Store records, each with its weight, on disk, or raise OSError. Call it from a single thread only."""
        is_new = self._file is None
        file = self._file or self._begin()
        end = file.tell()
        rest = memoryview(b"".join([HEAD.pack(len(data), weight, zlib.crc32(data)) + data for data, weight in records]))
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
            if is_new:
                sync(self._folder)
        except OSError:  # truncate a partial write, so that it is not delivered or followed by records
            if end:
                os.ftruncate(file.fileno(), end)
            else:
                Path(file.name).unlink()
            self.close()
            raise
        if file.tell() > MAX_FILE_BYTES:
            self.close()

    def probe(self) -> None:
        """Raise OSError if a record cannot be written now, because the disk is full or read-only."""
        path = self._make_folder() / f"{os.getpid()}.probe"
        try:
            path.write_bytes(bytes(4096))
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the current file, so that it can be emptied."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock against other processes that call this."""
        descriptor = os.open(self._make_folder(), os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def news(self) -> tuple[set[Path], list[tuple[Path, int, bytes]]]:
        """Return all files, and the records added since the last call, each with its file and offset."""
        files, found = self._files(), []
        self._read = {path: self._read.get(path, 0) for path in files}
        for path in files:
            for place, data in _records_at(path, self._read[path]):
                found.append((path, place, data))
                self._read[path] = place + HEAD.size + len(data)
        return set(files), found

    def read(self, path: Path, place: int) -> bytes | None:
        """Return a record, or None if it was removed."""
        return next((data for _, data in _records_at(path, place)), None)

    def waiting(self) -> int:
        """Return the total weight of the records that wait, in the files of all processes."""
        total = 0
        for path in self._files():
            with suppress(FileNotFoundError), path.open("rb") as file:  # it may have been emptied in the meantime
                while len(head := file.read(HEAD.size)) == HEAD.size:
                    length, weight, _ = HEAD.unpack(head)
                    total += weight
                    file.seek(length, os.SEEK_CUR)
        return total

    def damaged(self) -> list[str]:
        """Return the names of the files that `drain` has set aside."""
        return sorted(path.name for path in self._folder.glob(f"*{DAMAGED}"))

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each file, for a backup. A record that is being written may be cut."""
        for path in self._files():
            with suppress(FileNotFoundError):  # it was emptied in the meantime
                yield path.name, path.read_bytes()

    def restore(self, name: str, data: bytes) -> None:
        """Store a file of a backup, which is delivered as any other.

        Raises:
            StorageFailed: the disk is full or broken.
            ValueError: the name is not that of a file of a spool.
        """
        if not RESTORABLE.fullmatch(name):
            raise ValueError(f"{name!r} is not a file of a spool")
        path = self._folder / name
        if not path.exists():  # files only grow, so an existing one has the same records or more
            private_files.write(path, data)

    def drain(self, deliver: Callable[[Iterator[bytes]], None]) -> list[Path]:
        """Deliver the records of the files that no process holds, oldest first, and remove these files.

        Args:
            deliver: receives a file's records. When it returns, they have reached their destination, and the file is
                removed. If it raises, they stay and are delivered again, so it must recognize duplicates.

        Returns:
            Files that are damaged in the middle. The records before the damage are delivered, and the file is renamed
            for inspection by a person.
        """
        damaged = []
        for path in self._files():
            with _held(path) as file:
                if file is None:
                    continue
                deliver(_records(file))
                if file.read().strip(b"\0"):
                    damaged.append(path.rename(path.with_suffix(DAMAGED)))
                else:
                    path.unlink()
        return damaged

    def _begin(self) -> BinaryIO:
        path = self._make_folder() / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
        file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists():  # another process emptied it before it was locked, assuming that its process was dead
            file.close()
            return self._begin()
        self._file = file
        return file

    def _make_folder(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder.is_dir() else []


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO | None]:
    """Yield a file that no living process holds, locked, or None if a process holds it or another has emptied it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file if path.exists() else None


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the complete records of a file up to the first that is cut, or to zeros that a power failure may leave."""
    while len(head := file.read(HEAD.size)) == HEAD.size:
        length, _, checksum = HEAD.unpack(head)
        data = file.read(length)
        if not data or len(data) < length or zlib.crc32(data) != checksum:
            return
        yield data


def _records_at(path: Path, place: int) -> Iterator[tuple[int, bytes]]:
    """Yield the records of a file from an offset on, each with its offset, or none if the file was emptied."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(place)
        for data in _records(file):
            yield place, data
            place += HEAD.size + len(data)
