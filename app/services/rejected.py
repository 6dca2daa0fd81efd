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

from app.exceptions import MISSING, BodyMalformed, Fault, RejectedUnknown, StoreUnavailable
from app.schemas import json
from app.schemas.events import Rejected
from app.schemas.fields import CONTROL, MAX_CODE
from app.services.audit import Audit
from app.services.clock import now
from app.services.principal import SYSTEM, Principal
from app.store import rejected as store
from app.store.database import release, transaction
from app.store.models import RejectedEvent

QUEUE_EVENTS = 2_000
QUEUE_CHARACTERS = 20_000_000
SAMPLED_FROM = 1_000  # queued events beyond which only every tenth is kept
SAMPLE = 10
PAUSE_SECONDS = 0.2  # between two transactions, so that good events come first
AWAY_SECONDS = 2.0  # until the next try while the database is away
GROUP_EVENTS = 500
GROUP_CHARACTERS = 4_000_000
MAX_REASONS = 20
MAX_TEXT = 1_000_000  # characters of one event: a valid one has 400,000 and what their escapes add

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
        self._audit = Audit()
        self._queue: deque[dict] = deque()
        self._characters = 0
        self._dropped = 0
        self._offered = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def keep(self, rejected: Sequence[Rejected], origin: Origin) -> None:
        """Take note of a request's invalid events; never waits, never raises for want of room."""
        received, address = now(), shortened(origin.address)
        with self._lock:
            for one in rejected:
                size = min(len(one.text), MAX_TEXT)
                if self._has_room(size):
                    self._queue.append(row(one, received, address, origin.request_id))
                    self._characters += size
                else:
                    self._dropped += 1
            if self._thread is None or not self._thread.is_alive():
                # No daemon: a process that ends waits for it, so that nothing queued is lost.
                self._thread = threading.Thread(target=self._run, name="rejected")
                self._thread.start()

    def flush(self) -> None:
        """Return when what is queued is written.

        Raises:
            StoreUnavailable: the database is away; what was taken out of the queue is back in it.
        """
        with self._writing:
            while self._is_waiting():
                self._write_some()

    def page(self, who: Principal, limit: int, before: int | None = None) -> list[RejectedEvent]:
        """The newest rejected events that somebody may see; `before` an id, for the next page."""
        return store.newest(limit, before=before, customers=who.customers)

    def by_field(self, who: Principal = SYSTEM) -> list[tuple[str, int]]:
        """How many that somebody may see for each wrong field, most first; an empty name: the event as a whole."""
        return store.by_field(who.customers)

    def dropped(self) -> int:
        """How many were not kept, as there were too many; whose they were nobody knows."""
        return store.dropped()

    def get(self, who: Principal, key: int) -> RejectedEvent:
        """One of them.

        Raises:
            RejectedUnknown: there is none of that id, or it is not the caller's.
        """
        found = store.by_id(key)
        if found is None or not who.sees(found.customer):
            raise RejectedUnknown(f"There is no rejected event {key}: it was sent again, or removed.")
        return found

    def remove(self, one: RejectedEvent) -> bool:
        """Forget one; False where somebody else was faster."""
        return store.remove([one.id]) == 1

    def discard(self, who: Principal, one: RejectedEvent) -> None:
        """Forget one, as somebody wants it; the audit log says so."""
        with transaction():
            if self.remove(one):
                self._audit.note(who, "rejected event removed", f"rejected event {one.id}", customer=one.customer)

    def _has_room(self, size: int) -> bool:
        self._offered += 1
        waiting = len(self._queue)
        if self._characters + size > QUEUE_CHARACTERS:
            return False
        return waiting < SAMPLED_FROM or (waiting < QUEUE_EVENTS and self._offered % SAMPLE == 0)

    def _is_waiting(self) -> bool:
        return bool(self._queue or self._dropped)

    def _run(self) -> None:
        """Write until nothing is left, then end; the next rejected event starts another thread."""
        while True:
            with self._lock:
                if not self._is_waiting():
                    self._thread = None
                    return
            if self._try_some():
                time.sleep(PAUSE_SECONDS)
            elif threading.main_thread().is_alive():
                time.sleep(AWAY_SECONDS)
            else:  # the process ends, and cannot wait for the database
                return

    def _try_some(self) -> bool:
        try:
            with self._writing:
                self._write_some()
        except StoreUnavailable as error:
            log.warning("rejected events not kept yet", reason=str(error))
        except Exception:  # noqa: BLE001 - a fault of ours: told in full, and others wait behind these
            log.exception("rejected events not kept")
        else:
            return True
        finally:
            release()
        return False

    def _write_some(self) -> None:
        rows, dropped = self._take()
        try:
            store.add(rows, dropped)
        except Exception as error:
            with self._lock:
                self._dropped += dropped
                if isinstance(error, StoreUnavailable):
                    self._queue.extendleft(reversed(rows))
                    self._characters += sum(len(row["event"]) for row in rows)
                else:  # they would never be taken
                    self._dropped += len(rows)
            raise

    def _take(self) -> tuple[list[dict], int]:
        """The next rows, and how many were dropped."""
        rows, characters = [], 0
        with self._lock:
            while self._queue and len(rows) < GROUP_EVENTS and characters < GROUP_CHARACTERS:
                rows.append(self._queue.popleft())
                characters += len(rows[-1]["event"])
            self._characters -= characters
            dropped, self._dropped = self._dropped, 0
        return rows, dropped


def shortened(address: str) -> str:
    """An address without what tells one person from the neighbours: /24 of IPv4, /48 of IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def row(one: Rejected, received: int, address: str, request_id: str) -> dict:
    """A rejected event as the store keeps it."""
    return {
        "received": received,
        "address": address,
        "request_id": request_id,
        "place": one.place,
        "event": one.text[:MAX_TEXT],
        "field": one.faults[0].field,
        "fault": _kind(one.faults[0]),
        "reasons": _reasons(one.faults),
    } | _codes(one.text)


def _reasons(faults: Sequence[Fault]) -> list[str]:
    rest = len(faults) - MAX_REASONS
    return [fault.message for fault in faults[:MAX_REASONS]] + ([f"And {rest} more."] if rest > 0 else [])


def _kind(fault: Fault) -> str:
    """What is the matter with a field, in a word."""
    if fault.code == MISSING:
        return "missing"
    return "unknown" if fault.is_unknown else "wrong"


def _codes(text: str) -> dict[str, str]:
    """Whose an event seems to be, of which product and type; empty where it does not say in a way that could be one."""
    try:
        event = json.parse(text.encode())
    except BodyMalformed:
        event = None
    given = event if isinstance(event, dict) else {}
    return {name: _code(given.get(name)) for name in ("customer", "product", "type")}


def _code(value: object) -> str:
    is_one = isinstance(value, str) and len(value) <= MAX_CODE and not (CONTROL.search(value) or json.unkeepable(value))
    return value if is_one else ""
