"""Rejected events: what products sent and the service refused, kept whole for a person to look at and send again.

They are kept beside the way in, never in it: requests drop them into a bounded queue, and one thread writes them at
its leisure. A flood of rejects fills the queue, is sampled, and in the end only counted; good events do not notice.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.exceptions import StoreUnavailable, TallyError
from app.schemas.events import Rejected
from app.services.accounts import Principal
from app.services.clock import now
from app.store import rejected as store
from app.store.database import release
from app.store.models import RejectedEvent

QUEUE_EVENTS = 2_000
SAMPLED_FROM = 1_000  # queued events beyond which only every tenth is kept
SAMPLE = 10
PAUSE_SECONDS = 0.2  # between two transactions, so that good events come first
GROUP_EVENTS = 500
MAX_TEXT = 1_000_000  # characters of one event

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a request came from.

    Attributes:
        address: of the client; kept shortened.
        request_id: its X-Request-ID.
    """

    address: str
    request_id: str


class RejectedEvents:
    """The rejected events of one process, and of all of them once they are written."""

    def __init__(self) -> None:
        self._queue: deque[dict] = deque()
        self._dropped = 0
        self._offered = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def keep(self, rejected: Sequence[Rejected], origin: Origin) -> None:
        """Take note of a request's invalid events; never waits, never raises for want of room."""
        received, address = now(), shortened(origin.address)
        with self._lock:
            for one in rejected:
                if self._has_room():
                    self._queue.append(_row(one, received, address, origin.request_id))
                else:
                    self._dropped += 1
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="rejected", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write what is queued, now.

        Raises:
            StoreUnavailable: the database is away; what was taken out of the queue is back in it.
        """
        while self._queue or self._dropped:
            self._write_some()

    def page(self, who: Principal, limit: int, before: int | None = None) -> list[RejectedEvent]:
        """The newest rejected events; for roles that see everything."""
        return store.newest(limit, before=before)

    def by_field(self) -> list[tuple[str, int]]:
        """How many there are for each wrong field, most first; an empty name: the event as a whole."""
        return store.by_field()

    def dropped(self) -> int:
        """How many were not kept, as there were too many."""
        return store.dropped()

    def get(self, key: int) -> RejectedEvent | None:
        """One of them."""
        return store.by_id(key)

    def remove(self, key: int) -> None:
        """Forget one."""
        store.remove(key)

    def _has_room(self) -> bool:
        self._offered += 1
        waiting = len(self._queue)
        return waiting < SAMPLED_FROM or (waiting < QUEUE_EVENTS and self._offered % SAMPLE == 0)

    def _run(self) -> None:
        """Write until nothing is left, then end; the next rejected event starts another thread."""
        while True:
            with self._lock:
                if not self._queue and not self._dropped:
                    self._thread = None
                    return
            try:
                self._write_some()
            except StoreUnavailable as error:
                log.warning("rejected events not kept yet", reason=str(error))
            finally:
                release()
            time.sleep(PAUSE_SECONDS)

    def _write_some(self) -> None:
        with self._lock:
            rows = [self._queue.popleft() for _ in range(min(GROUP_EVENTS, len(self._queue)))]
            dropped, self._dropped = self._dropped, 0
        try:
            store.add(rows, dropped)
        except TallyError:
            with self._lock:
                self._queue.extendleft(reversed(rows))
                self._dropped += dropped
            raise


def shortened(address: str) -> str:
    """An address without what tells one person from the neighbours: /24 of IPv4, /48 of IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def _row(one: Rejected, received: int, address: str, request_id: str) -> dict:
    return {
        "received": received,
        "address": address,
        "request_id": request_id,
        "place": one.place,
        "event": one.text[:MAX_TEXT],
        "field": one.faults[0].field,
        "reasons": [fault.message for fault in one.faults[:20]],
    }
