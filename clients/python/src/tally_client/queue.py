"""Events that wait to be sent, in batches; what happens when too many wait. `MemoryQueue` keeps them in memory."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tally_client.errors import ClientClosed, QueueFull

DROP_OLDEST, DROP_NEWEST, BLOCK, RAISE = OVERFLOWS = ("drop-oldest", "drop-newest", "block", "raise")
BLOCKED_SECONDS = 1.0  # between two looks for space
FRAME_BYTES = 10  # of each event in the spool: its checksum, a space and the end of the line


log = logging.getLogger("tally_client")


@dataclass(frozen=True)
class Limits:
    """Limits of the queue.

    Attributes:
        batch_events: the maximum number of events in a batch.
        batch_bytes: the maximum size of a batch, unless a single event is larger.
        batch_seconds: the time that an event waits for others before it is sent.
        max_bytes: the maximum size of all waiting events.
        overflow: what happens to an event beyond `max_bytes`, one of OVERFLOWS.
    """

    batch_events: int
    batch_bytes: int
    batch_seconds: float
    max_bytes: int
    overflow: str


@dataclass(eq=False)
class Batch:
    """Events that are sent in one request.

    Attributes:
        key: the idempotency key of the request, which no other batch has.
        number: a later batch of this process has a greater one.
        events: the number of events.
        size: in bytes, as in the spool.
        began: the time.monotonic() of the first event.
        synced: the bytes that the disk itself has, of a batch on disk.
        lines: the events, of a batch in memory.
    """

    key: str
    number: int
    events: int = 0
    size: int = 0
    began: float = 0.0
    synced: int = 0
    lines: list[bytes] = field(default_factory=list)


class Queue:
    """The batches that wait, and the open one to which events are added. Threads share it.

    `changed` guards everything and is notified of what the sender or a waiting thread needs to know. It is reentrant,
    because a signal handler, or a finalizer that the garbage collector calls, may record an event while its thread
    records another.
    """

    def __init__(self, limits: Limits, on_first: Callable[[], None]) -> None:
        self.limits = limits
        self.changed = threading.Condition()
        self.is_closed = False
        self.recorded = 0
        self.dropped = 0
        self.waiting_events = 0
        self.waiting_bytes = 0
        self.sender: threading.Thread | None = None
        self._on_first = on_first  # called with the first event of a batch, so that a sender exists
        self._sealed: deque[Batch] = deque()
        self._open: Batch | None = None
        self._sending: Batch | None = None  # the batch that is being sent, whose outcome may be unknown
        self.newest = 0  # the number of the newest batch
        self._is_appending = False
        self._interrupting: deque[bytes] = deque()

    def append(self, line: bytes) -> None:
        """Add an event.

        Raises:
            ClientClosed: the client is closed.
            QueueFull: too many events wait, with the overflow "raise".
        """
        with self.changed:
            if self.is_closed:
                raise ClientClosed("The client is closed, so the event was not recorded.")
            if self._is_appending:  # this thread was interrupted in the midst of the lines below
                self._interrupting.append(line)
                return
            self._is_appending = True
            try:
                self._append(line)
                while self._interrupting:
                    self._append(self._interrupting.popleft())
            finally:
                self._is_appending = False

    def next_batch(self, *, now: bool = False) -> Batch | None:
        """Return the oldest batch to send, or None if none is due. The next call returns the same one until `done`.

        Args:
            now: whether an incomplete batch is due before it is old enough.
        """
        if not self._sealed and self._open is not None and self._open.events and (now or self.due_in() <= 0):
            self._seal()
        self._sending = self._sealed[0] if self._sealed else None
        return self._sending

    def due_in(self) -> float:
        """Return the seconds until the open batch is old enough, which is negative afterwards."""
        if self._open is None or not self._open.events:
            return self.limits.batch_seconds
        return self._open.began + self.limits.batch_seconds - time.monotonic()

    def done(self, batch: Batch) -> None:
        """Forget a batch whose events are stored or rejected."""
        with self.changed:
            self._forget(batch)
            self._sending = None
            self.changed.notify_all()

    def split(self, batch: Batch, parts: Sequence[Sequence[bytes]]) -> None:
        """Replace a batch, of which the service has stored nothing, by several. Their keys follow from its key."""
        new = [self._make(f"{batch.key}-{place}", batch.number, part) for place, part in enumerate(parts)]
        with self.changed:
            self._forget(batch)
            self._sealed.extendleft(reversed(new))
            self._count(new)

    def read(self, batch: Batch) -> list[bytes]:
        """Return the events of a batch."""
        return batch.lines

    def sync(self) -> None:
        """Write to the disk what is only in the system's memory, if the queue is on a disk."""

    def adopt(self) -> None:
        """Adopt the events of processes that have ended, if the queue is on a disk."""

    def close(self) -> None:
        """Release everything; what is in memory is lost."""
        if self.waiting_events:
            log.warning("%d events were lost, because they could not be sent in time.", self.waiting_events)

    def abandon(self) -> None:
        """Release what a forked process has inherited, without effect on its parent."""

    def oldest(self) -> int | None:
        """Return the number of the oldest batch that waits, or None if all are sent."""
        return min((batch.number for batch in self._waiting()), default=None)

    def _waiting(self) -> list[Batch]:
        return [*self._sealed, *([self._open] if self._open is not None and self._open.events else [])]

    def _append(self, line: bytes) -> None:
        size = len(line) + FRAME_BYTES
        limits = self.limits
        while True:
            error = None
            if self.waiting_bytes + size <= limits.max_bytes:
                batch = self._open
                try:
                    if batch is None or batch.size + size > limits.batch_bytes:
                        batch = self._open_batch()
                    self._write(batch, line)
                    break
                except OSError as reason:  # of the disk
                    error = reason
            if not self._make_room(error):
                self.dropped += 1
                return
        batch.events += 1
        batch.size += size
        self.recorded += 1
        self.waiting_events += 1
        self.waiting_bytes += size
        if batch.events >= limits.batch_events:
            self._seal()

    def _open_batch(self) -> Batch:
        if self._open is not None and self._open.events:
            self._seal()
        if self._open is None:
            self.newest += 1
            self._open = self._begin(Batch(_new_key(), self.newest, began=time.monotonic()))
        self._on_first()
        self.changed.notify_all()
        return self._open

    def _seal(self) -> None:
        if self._open is not None:
            self._sealed.append(self._open)
            self._open = None
            self.changed.notify_all()

    def _make_room(self, error: OSError | None) -> bool:
        """Make room for an event, or wait for it; return False to drop the event.

        Raises:
            ClientClosed, QueueFull: see `append`.
        """
        overflow = self.limits.overflow
        if overflow == RAISE:
            reason = f"the spool cannot be written: {error}" if error else f"{self.waiting_events:,} events wait"
            raise QueueFull(f"The event was not recorded, because {reason}.") from error
        if overflow == BLOCK and threading.current_thread() is not self.sender:
            self._is_appending = False  # other threads may record meanwhile, if there is space for their event
            self.changed.wait(BLOCKED_SECONDS)
            self._is_appending = True
            if self.is_closed:
                raise ClientClosed("The client was closed while the event waited for space, so it was not recorded.")
            return True
        if overflow == DROP_OLDEST:
            if self._open is not None and self._open.events and all(batch is self._sending for batch in self._sealed):
                self._seal()
            for batch in self._sealed:
                if batch is not self._sending:  # it may be stored already
                    self._forget(batch)
                    self.dropped += batch.events
                    return True
        return False

    def _forget(self, batch: Batch) -> None:
        self._sealed.remove(batch)
        self.waiting_events -= batch.events
        self.waiting_bytes -= batch.size
        self._remove(batch)

    def _count(self, batches: Sequence[Batch]) -> None:
        self.waiting_events += sum(batch.events for batch in batches)
        self.waiting_bytes += sum(batch.size for batch in batches)

    def _begin(self, batch: Batch) -> Batch:
        return batch

    def _write(self, batch: Batch, line: bytes) -> None:
        raise NotImplementedError

    def _make(self, key: str, number: int, lines: Sequence[bytes]) -> Batch:
        size = sum(map(len, lines)) + FRAME_BYTES * len(lines)
        return Batch(key, number, len(lines), size, time.monotonic(), lines=list(lines))

    def _remove(self, batch: Batch) -> None:
        pass


class MemoryQueue(Queue):
    """A queue that ends with its process."""

    def _write(self, batch: Batch, line: bytes) -> None:
        batch.lines.append(line)


def _new_key() -> str:
    """Return a key that sorts by time."""
    return f"{time.time_ns():020d}-{uuid.uuid4().hex}"
