"""The thread that sends batches, one after another, until each is stored or rejected."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from tally_client.queue import Batch, Queue
from tally_client.rejected import RejectedEvents
from tally_client.transport import Connection, Response

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 3600.0
FAILED_SECONDS = 0.01
ADOPT_SECONDS = 10.0  # between two looks for events of processes that have ended
HEADERS = {"Content-Type": "application/json", "Prefer": "handling=lenient"}
VERDICTS = {400, 403, 413, 415}  # statuses that say that these events will never be accepted
MALFORMED = 400  # one event may be why, for example if something before the service removes `Prefer`
TOO_LARGE = 413
OUTSIDE_SCOPE = 403
KEY_REUSED = 422

log = logging.getLogger("tally_client")


class Stats(NamedTuple):
    """Numbers of events of this process since its start.

    Attributes:
        recorded: accepted by `record`.
        sent: stored by the service, including those of ended processes that shared the spool.
        rejected: refused by the service for good.
        dropped: not recorded, or removed from the queue, because too many waited or the disk was full.
        waiting: not sent yet.
        failures: of attempts in sequence until now, 0 while everything works.
        last_error: why the last attempt failed, or None if none has.
    """

    recorded: int
    sent: int
    rejected: int
    dropped: int
    waiting: int
    failures: int
    last_error: str | None


class Sender:
    """Sends what a queue holds, in a thread that starts with the first event."""

    def __init__(self, queue: Queue, connection: Connection, rejected: RejectedEvents) -> None:
        self._queue = queue
        self._connection = connection
        self._rejected = rejected
        self._thread: threading.Thread | None = None
        self._is_flushing = 0  # threads that wait for a flush
        self._stop_at: float | None = None
        self._backoff_until = 0.0  # a flush does not wait for this
        self._retry_after = 0.0  # but for what the service asked for
        self._sync_at = 0.0
        self._adopt_at = 0.0
        self._has_adopted = False  # at least once
        self._failures = 0
        self._last_error: str | None = None
        self._sent = 0
        self._rejected_count = 0

    def stats(self) -> Stats:
        """Return the numbers of events."""
        queue = self._queue
        with queue.changed:
            return Stats(
                queue.recorded,
                self._sent,
                self._rejected_count,
                queue.dropped,
                queue.waiting_events,
                self._failures,
                self._last_error,
            )

    def ensure_started(self) -> None:
        """Start the thread unless it runs."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="tally-client", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends; `close` sends what waits
                return
            self._thread = self._queue.sender = thread

    def flush(self, timeout: float) -> bool:
        """Send what was recorded until now, and what ended processes left in the spool before this one started.

        Return whether it was stored or rejected in time.
        """
        changed = self._queue.changed
        with changed:
            if self._thread is None and self._queue.oldest() is None:
                return True
            self._is_flushing += 1
            self._backoff_until = 0.0
            self.ensure_started()
            changed.notify_all()
            try:
                deadline = time.monotonic() + timeout
                if not changed.wait_for(lambda: self._has_adopted, timeout):
                    return False
                newest = self._queue.newest
                return changed.wait_for(
                    lambda: (self._queue.oldest() or newest + 1) > newest, deadline - time.monotonic()
                )
            finally:
                self._is_flushing -= 1

    def stop(self, timeout: float) -> None:
        """Send what waits within a time, and end the thread."""
        with self._queue.changed:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + timeout
            self._queue.is_closed = True
            self._backoff_until = 0.0
            self._queue.changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        elif thread is None and self._queue.waiting_events:
            self._run()

    def _run(self) -> None:
        while True:
            try:
                batch = self._next()
                if batch is None:
                    break
                self._deliver(batch)
            except Exception as error:  # noqa: BLE001 - the thread must not end; the batch waits, and this is logged
                self._fail(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
                time.sleep(FAILED_SECONDS)  # even if it was no request that failed
        self._connection.close()

    def _next(self) -> Batch | None:
        """Wait for a batch, and return it, or None if the thread must end."""
        queue = self._queue
        while True:
            self._maintain()
            with queue.changed:
                now = time.monotonic()
                is_stopping = self._stop_at is not None
                batch = queue.next_batch(now=bool(self._is_flushing or is_stopping))
                if is_stopping and (batch is None or now >= (self._stop_at or 0)):
                    return None
                not_before = max(self._backoff_until, self._retry_after)
                if batch is not None and now >= not_before:
                    return batch
                due = queue.due_in() if batch is None else not_before - now
                if self._stop_at is not None:
                    due = min(due, self._stop_at - now)
                queue.changed.wait(max(0.001, min(due, self._sync_at - now, self._adopt_at - now)))

    def _maintain(self) -> None:
        now = time.monotonic()
        try:
            if now >= self._sync_at:
                self._sync_at = now + self._queue.limits.batch_seconds
                self._queue.sync()
            if now >= self._adopt_at and (self._stop_at is None or not self._has_adopted):
                self._adopt_at = now + ADOPT_SECONDS
                self._queue.adopt()
        except OSError as error:
            log.warning("The spool cannot be maintained: %s", error)
        if not self._has_adopted:
            with self._queue.changed:
                self._has_adopted = True
                self._queue.changed.notify_all()

    def _deliver(self, batch: Batch) -> None:
        lines = self._queue.read(batch)
        if not lines:  # nothing of it was written completely
            self._queue.done(batch)
            return
        body = b"[" + b",".join(lines) + b"]"
        response = self._connection.post("/events", body, {**HEADERS, "Idempotency-Key": batch.key})
        status = response.status
        if status == 200 and response.body.startswith(b"["):  # a proxy may answer 200, too
            refused = _refused(response, lines)
            if refused:
                self._reject(refused, "The service found them invalid. Its page Rejected shows why.")
            self._succeed(batch, len(lines) - len(refused))
        elif status == KEY_REUSED and response.code() is not None:
            # Only this batch has the key, so it was stored, before the end of its file was lost in a power cut.
            log.warning("A batch of %d events had been stored before.", len(lines))
            self._succeed(batch, len(lines))
        elif len(lines) > 1 and (status == TOO_LARGE or (status == MALFORMED and response.code() is not None)):
            half = len(lines) // 2
            self._queue.split(batch, [lines[:half], lines[half:]])
        elif status == TOO_LARGE or (status in VERDICTS and response.code() is not None):
            parts = _by_scope(lines) if status == OUTSIDE_SCOPE else [lines]
            if len(parts) > 1:
                self._queue.split(batch, parts)
            else:
                self._reject(lines, response.reason())
                self._succeed(batch, 0)
        else:
            self._fail(response.reason(), response.retry_after())

    def _reject(self, lines: Sequence[bytes], reason: str) -> None:
        self._rejected.add(lines, reason)
        with self._queue.changed:
            self._rejected_count += len(lines)

    def _succeed(self, batch: Batch, stored: int) -> None:
        with self._queue.changed:
            self._sent += stored
            failures, self._failures = self._failures, 0
            self._queue.done(batch)
        if failures:
            log.info("The service accepts events again after %d failed attempts.", failures)

    def _fail(self, reason: str, retry_after: float = 0.0) -> None:
        longest = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, 20))
        with self._queue.changed:
            is_new = self._failures == 0 or reason != self._last_error
            self._failures += 1
            self._last_error = reason
            self._retry_after = time.monotonic() + min(retry_after, MAX_RETRY_AFTER_SECONDS)
            self._backoff_until = self._retry_after + random.uniform(0, longest)  # noqa: S311
        if is_new:
            log.warning("Events wait, because sending failed: %s", reason)


def _refused(response: Response, lines: Sequence[bytes]) -> list[bytes]:
    """Return the events that the service did not store with the others."""
    if response.headers.get("X-Rejected-Events", "0") == "0":
        return []
    stored = {event["sequence"] for event in json.loads(response.body)}
    return [line for place, line in enumerate(lines, 1) if place not in stored]


def _by_scope(lines: Sequence[bytes]) -> list[list[bytes]]:
    """Return events divided by customer and product, because a key permits or forbids these."""
    parts: dict[tuple[str, str], list[bytes]] = {}
    for line in lines:
        event = json.loads(line)
        parts.setdefault((event["customer"], event["product"]), []).append(line)
    return list(parts.values())
