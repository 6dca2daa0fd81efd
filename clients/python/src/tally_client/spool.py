"""A queue on disk, which survives the end of its process.

    spool/
        lock            held while folders are created or adopted
        rejected.jsonl  see `tally_client.rejected`
        ID/             of one process
            lock        held by the process as long as it lives
            KEY.events  a batch: lines of a CRC-32, a space and an event as JSON

A batch is one file from its first event on, so the same events are always sent under the same key, even if the
process ends in between. A line that was torn does not match its checksum and is left out. The files of a process that
has ended, which its lock shows, are moved to the folder of another process and sent from there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tally_client.errors import InvalidSetting
from tally_client.locks import HAS_LOCKS, lock_forever, locked, try_lock
from tally_client.queue import FRAME_BYTES, Batch, Limits, Queue

ALWAYS, INTERVAL, NEVER = FSYNCS = ("always", "interval", "never")
SUFFIX = ".events"
LOCK = "lock"
ID = re.compile(r"[0-9a-f]{32}")  # of a process; other folders are not of a spool

log = logging.getLogger("tally_client")


class Spool(Queue):
    """A queue in a folder that several processes may share.

    Args:
        folder: created if it does not exist.
        fsync: when the disk itself has an event: before `append` returns ("always"), after `batch_seconds` unless it
            has been sent ("interval"), or when the system decides ("never"). Until then the system has it, so that
            only an end of the system loses it, not an end of the process.

    Raises:
        InvalidSetting: the system has no file locks.
    """

    def __init__(self, folder: Path, fsync: str, limits: Limits, on_first: Callable[[], None]) -> None:
        super().__init__(limits, on_first)
        if not HAS_LOCKS:
            raise InvalidSetting("spool needs the file locks of POSIX, which this system does not have. Omit spool.")
        self.root = folder
        self._fsync = fsync
        self._own: Path | None = None
        self._lock: int | None = None
        self._descriptor: int | None = None  # of the open batch
        self._sync_lock = threading.Lock()
        self._synced = 0  # of the recorded events, those on disk

    def open(self) -> Path:
        """Return the folder of this process, which is created if it does not exist."""
        with self.changed:
            if self._own is not None:
                return self._own
            self.root.mkdir(parents=True, exist_ok=True)
            own = self.root / uuid.uuid4().hex
            with locked(self.root / LOCK):
                own.mkdir()
                lock = lock_forever(own / LOCK)
            self._own, self._lock = own, lock
            if self._fsync != NEVER:
                _sync(self.root)
            return own

    def append(self, line: bytes) -> None:
        """See `Queue.append`. With the fsync "always", the event is on disk when this returns."""
        super().append(line)
        if self._fsync == ALWAYS:
            self._sync_up_to(self.recorded)

    def read(self, batch: Batch) -> list[bytes]:
        """Return the intact events of a batch."""
        return list(_intact(self._path(batch).read_bytes()))

    def sync(self) -> None:
        """Write to the disk what is only in the system's memory, with the fsync "interval"."""
        if self._fsync != INTERVAL:
            return
        with self.changed:
            behind = [(batch, batch.size) for batch in self._waiting() if batch.synced < batch.size]
        for batch, size in behind:
            with contextlib.suppress(FileNotFoundError):  # it was dropped
                _sync(self._path(batch))
                batch.synced = size
        if behind and self._own is not None:
            _sync(self._own)

    def adopt(self) -> None:
        """Adopt the files of processes that have ended."""
        own = self.open()
        found = []
        with locked(self.root / LOCK):
            for folder in self.root.iterdir():
                if folder != own and ID.fullmatch(folder.name):
                    found += _move_files(folder, own)
        for path in sorted(found):
            try:
                content = path.read_bytes()
            except OSError as error:  # it is adopted again after this process
                log.warning("The events of an ended process in %s cannot be read: %s", path, error)
                continue
            lines = list(_intact(content))
            torn = len(content) - sum(map(len, lines)) - FRAME_BYTES * len(lines)
            if torn:
                log.warning("A process ended while it recorded: %d bytes of an incomplete event were removed.", torn)
            with self.changed:
                self.newest += 1
                batch = Batch(path.name[: -len(SUFFIX)], self.newest, len(lines), len(content))
                self._sealed.append(batch)
                self._count([batch])
                self.changed.notify_all()

    def close(self) -> None:
        """Leave what waits to the next process."""
        with self.changed:
            if self._own is None:
                return
            self._close_file()
            with locked(self.root / LOCK):
                if not any(path.name != LOCK for path in self._own.iterdir()):
                    (self._own / LOCK).unlink()
                    self._own.rmdir()
            self.abandon()

    def abandon(self) -> None:
        """Close the files. The parent of a forked process keeps its locks, because they belong to its descriptors."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._own = self._lock = self._descriptor = None

    def _begin(self, batch: Batch) -> Batch:
        own = self.open()
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
        self._descriptor = os.open(self._path(batch), flags, 0o600)
        if self._fsync == ALWAYS:
            _sync(own)
        return batch

    def _write(self, batch: Batch, line: bytes) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            raise OSError("the spool is closed")
        record = _record(line)
        try:
            written = os.write(descriptor, record)
            if written < len(record):
                raise OSError(f"only {written} of {len(record)} bytes could be written")
        except OSError:
            os.ftruncate(descriptor, batch.size)
            raise

    def _seal(self) -> None:
        self._close_file()
        super()._seal()

    def _close_file(self) -> None:
        if self._descriptor is not None:
            if self._fsync == ALWAYS:
                os.fsync(self._descriptor)
                self._synced = self.recorded
            os.close(self._descriptor)
            self._descriptor = None

    def _sync_up_to(self, recorded: int) -> None:
        """Wait until this many events are on disk. Threads that wait together share an fsync."""
        with self._sync_lock:
            if self._synced >= recorded:
                return
            with self.changed:
                reached = self.recorded
                copy = None if self._descriptor is None else os.dup(self._descriptor)
            if copy is not None:
                try:
                    os.fsync(copy)
                finally:
                    os.close(copy)
            self._synced = max(self._synced, reached)

    def split(self, batch: Batch, parts: Sequence[Sequence[bytes]]) -> None:
        """See `Queue.split`. Nothing of it is sent before the batch itself is removed; see `_move_files`."""
        try:
            super().split(batch, parts)
        except OSError:
            for path in self._path(batch).parent.glob(f"{batch.key}-*{SUFFIX}"):
                path.unlink()
            raise
        if self._own is not None:
            _sync(self._own)

    def _make(self, key: str, number: int, lines: Sequence[bytes]) -> Batch:
        batch = super()._make(key, number, lines)
        batch.lines = []
        path = self._path(batch)
        with path.open("wb") as file:
            file.writelines(_record(line) for line in lines)
        _sync(path)
        _sync(path.parent)
        batch.synced = batch.size
        return batch

    def _remove(self, batch: Batch) -> None:
        with contextlib.suppress(FileNotFoundError):  # after `close`, another process may have adopted it
            self._path(batch).unlink()

    def _path(self, batch: Batch) -> Path:
        if self._own is None:
            raise FileNotFoundError("The spool is closed.")
        return self._own / (batch.key + SUFFIX)


def _record(line: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(line), line)


def _intact(content: bytes) -> Iterator[bytes]:
    """Yield the events of a file whose checksums are right."""
    for record in content.split(b"\n")[:-1]:
        line = record[9:]
        if record[:9] == b"%08x " % zlib.crc32(line):
            yield line


def _move_files(folder: Path, target: Path) -> list[Path]:
    """Move the batches of a process to another folder and return them, unless the process lives."""
    moved, lock = [], None
    try:
        lock = try_lock(folder / LOCK)  # None: it ended before it had one
        paths = sorted(folder.glob("*" + SUFFIX))
        split = tuple(f"{path.name[: -len(SUFFIX)]}-" for path in paths)
        for path in paths:
            if any(path.name.startswith(key) for key in split):  # its batch was not removed, so it was never sent
                path.unlink()
            else:
                moved.append(path.rename(target / path.name))
        with contextlib.suppress(FileNotFoundError):
            (folder / LOCK).unlink()
        folder.rmdir()
    except BlockingIOError:
        pass  # the process lives
    except OSError as error:
        log.warning("The events of an ended process in %s could not be adopted completely: %s", folder, error)
    finally:
        if lock is not None:
            os.close(lock)
    return moved


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
