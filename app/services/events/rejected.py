"""Rejected events: invalid events that products sent, stored in full so that a person can review and resend them.

Storing them does not delay valid events. Requests put rejected events into a bounded queue, and a single thread
writes them asynchronously. If too many arrive, the queue accepts a sample, and the rest are only counted.
"""

from __future__ import annotations

import ipaddress
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import zstandard

from app.exceptions import MISSING, BodyMalformed, RejectedUnknown, StoreUnavailable
from app.schemas import json
from app.schemas.batches import split_body
from app.schemas.events import Event, Rejected, encode_event
from app.schemas.fields import CONTROL, MAX_CODE
from app.services.access.ingest_keys import IngestKey
from app.services.people import audit
from app.services.people.principal import SYSTEM, Principal
from app.store.database import release, server_time, transaction
from app.store.events import rejected as store
from app.store.events.rejected_filter import ALL, RejectedFilter
from app.store.models import RejectedEvent, RejectedRequest
from app.support.clock import DAY_MS, now

QUEUE_EVENTS = 2_000
QUEUE_BYTES = 32 * 1024 * 1024  # memory of the queue
ROW_BYTES = 2_000  # memory per event, besides its text and reasons
SAMPLED_FROM = 1_000  # queued events beyond which only every tenth is kept
SAMPLE = 10
PAUSE_SECONDS = 0.2  # between two transactions, so that valid events have priority
AWAY_SECONDS = 2.0  # between attempts while the database is unavailable
GROUP_EVENTS = 500
GROUP_BYTES = 4_000_000
PURGE_BYTES = 16 * 1024 * 1024  # bytes written between purges, without waiting for the scheduler
MAX_REASONS = 20
MAX_TEXT = 1_000_000  # characters of an event; a valid event has up to 400,000, plus escapes

log = structlog.get_logger(__name__)


Row = dict[str, Any]  # columns of a rejected event or refused request by name


@dataclass(frozen=True)
class Origin:
    """Origin of a request: the client's address, which is stored shortened, and the request's X-Request-ID."""

    address: str
    request_id: str


@dataclass(frozen=True)
class RefusedRequest:
    """Request that is refused although some of its events are valid."""

    body: bytes  # the decoded body
    lines: bool  # whether the body has one event per line
    key: str | None  # its Idempotency-Key, or None
    valid: Sequence[Event]  # its valid events


class RejectedEvents:
    """Store of rejected events with a queue in each process.

    The limits on age, number and bytes apply to the stored events, and separately to the refused requests.
    """

    def __init__(self, keep_days: int, max_number: int, max_bytes: int) -> None:
        self._bounds = (keep_days, max_number, max_bytes)
        self._queue: deque[Row] = deque()
        self._requests: deque[Row] = deque()
        self._bytes = 0  # memory of both queues
        self._written = 0  # bytes since the last purge
        self._dropped = 0
        self._offered = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def keep(
        self,
        rejected: Sequence[Rejected],
        origin: Origin,
        sender: IngestKey | None = None,
        refused: RefusedRequest | None = None,
    ) -> None:
        """Queue a request's invalid events. Never block, and never raise because the queue is full.

        Args:
            sender: the ingest key of the request. Events that it may not send are stored without an owner.
            refused: the request, if valid events are refused with it.
        """
        source = now(), shortened(origin.address), origin.request_id
        request = _request_row(refused, rejected, sender, *source) if refused else None
        with self._lock:
            if request and self._bytes + _request_size(request) > QUEUE_BYTES:
                self._dropped += request["events"] - request["invalid"]
                request = None
            if request:
                self._requests.append(request)
                self._bytes += _request_size(request)
            for one in rejected:
                self._offered += 1
                waiting = len(self._queue)
                is_sampled = waiting < SAMPLED_FROM or (waiting < QUEUE_EVENTS and self._offered % SAMPLE == 0)
                if not is_sampled or self._bytes + sys.getsizeof(one.text) > QUEUE_BYTES:
                    self._dropped += 1
                    continue
                queued = row(one, *source, sender) | {"request": request["uuid"] if request else None}
                self._queue.append(queued)
                self._bytes += _size(queued)
            if self._thread is None or not self._thread.is_alive():
                # No daemon, because the process must wait for it before it ends, so that nothing queued is lost.
                self._thread = threading.Thread(target=self._run, name="rejected")
                self._thread.start()

    def flush(self) -> None:
        """Wait until all queued events are written. Raise StoreUnavailable while the database is unavailable."""
        with self._writing:
            while self._is_waiting():
                self._write_some()

    def page(
        self, who: Principal, limit: int, before: int | None = None, wanted: RejectedFilter = ALL
    ) -> list[RejectedEvent]:
        """Return the newest rejected events that the caller may see, or with `before`, an event id, the next page."""
        return store.newest(limit, before=before, wanted=wanted.visible_to(who.customers))

    def by_field(self, who: Principal = SYSTEM, wanted: RejectedFilter = ALL) -> list[tuple[str, int]]:
        """Return the number of visible rejected events for each invalid field, highest first.

        An empty name means the event as a whole.
        """
        return store.by_field(wanted.visible_to(who.customers).within_reach())

    def dropped(self) -> int:
        """Return how many rejected events were dropped because there were too many. Their customers are unknown."""
        return store.dropped()

    def get(self, who: Principal, key: int) -> RejectedEvent:
        """Return a rejected event. Raise RejectedUnknown if there is none, or the caller may not see it."""
        found = store.by_id(key)
        if found is None or not who.sees(found.customer):
            raise RejectedUnknown(f"There is no rejected event {key}: it was sent again, or removed.")
        return found

    def requests(
        self, who: Principal, limit: int, before: int | None = None, wanted: RejectedFilter = ALL
    ) -> list[RejectedRequest]:
        """Return the newest refused requests, without bodies, of which the caller may see every event."""
        return store.requests(limit, before=before, wanted=wanted.visible_to(who.customers))

    def request_totals(self, who: Principal) -> tuple[int, int]:
        """Return the number of those requests, and of the valid events in them."""
        return store.request_totals(who.customers)

    def request(self, who: Principal, uuid: str | None) -> RejectedRequest:
        """Return a refused request with its body. Raise RejectedUnknown if the caller may not see all of its events."""
        found = store.request(uuid) if uuid else None
        if found is None or not who.sees(found.customer):
            raise RejectedUnknown("There is no such refused request: it was sent again, or removed.")
        return found

    def members(self, who: Principal, request: RejectedRequest, limit: int) -> list[RejectedEvent]:
        """Return the first rejected events of a request."""
        return [one for one in store.members(request.uuid, limit) if who.sees(one.customer)]

    def start_of_body(self, request: RejectedRequest, characters: int) -> str:
        """Return the start of a request's body."""
        with zstandard.ZstdDecompressor().stream_reader(request.body) as reader:
            return reader.read(characters).decode(errors="replace")

    def companions(self, who: Principal, found: Sequence[RejectedEvent]) -> dict[str, RejectedRequest]:
        """Return the refused requests of some rejected events by UUID, if the caller may see all of their events."""
        uuids = {one.request for one in found if one.request}
        return {one.uuid: one for one in store.requests_of(uuids, who.customers)} if uuids else {}

    def discard_request(self, who: Principal, request: RejectedRequest) -> None:
        """Remove a refused request with its rejected events, and record this in the audit log."""
        with transaction():
            if store.remove_request(request.uuid):
                details = {"events": request.events - len(request.excluded_places)}
                name = f"refused request {request.uuid}"
                audit.note(who, "rejected request removed", name, details, customer=request.customer)

    def purge(self) -> None:
        """Remove rejected events and refused requests beyond the limits, oldest first."""
        keep_days, max_number, max_bytes = self._bounds
        store.purge(server_time() - keep_days * DAY_MS, max_number, max_bytes)

    def discard(self, who: Principal, one: RejectedEvent) -> None:
        """Remove a rejected event at a user's request, and record this in the audit log."""
        with transaction():
            if store.remove([one.id]):
                audit.note(who, "rejected event removed", f"rejected event {one.id}", customer=one.customer)

    def _is_waiting(self) -> bool:
        return bool(self._queue or self._requests or self._dropped)

    def _run(self) -> None:
        """Write until nothing is left, then end. The next rejected event starts another thread."""
        while True:
            with self._lock:
                if not self._is_waiting():
                    self._thread = None
                    return
            is_written = False
            try:
                with self._writing:
                    self._write_some()
                is_written = True
            except StoreUnavailable as error:
                log.warning("rejected events not kept yet", reason=str(error))
            except Exception:  # noqa: BLE001 - a bug: log it in full, and continue, because other events wait
                log.exception("rejected events not kept")
            finally:
                release()
            if not is_written and not threading.main_thread().is_alive():
                return  # the process ends, and cannot wait for the database
            time.sleep(PAUSE_SECONDS if is_written else AWAY_SECONDS)

    def _write_some(self) -> None:
        rows, requests, dropped = self._take()
        try:
            store.add(rows, dropped, requests)
        except Exception as error:
            with self._lock:
                self._dropped += dropped
                if isinstance(error, StoreUnavailable):
                    self._queue.extendleft(reversed(rows))
                    self._requests.extendleft(reversed(requests))
                    self._bytes += sum(map(_size, rows)) + sum(map(_request_size, requests))
                else:  # a retry would fail again
                    self._dropped += len(rows)
            raise
        self._written += sum(one["bytes"] for one in (*rows, *requests))
        if self._written > PURGE_BYTES:
            self._written = 0
            self.purge()

    def _take(self) -> tuple[list[Row], list[Row], int]:
        """Return the next rows, the refused requests, and the number of dropped events.

        A request is always written together with all of its rows. If one of both could be sent again before the other
        is visible, an event would be stored twice.
        """
        rows: list[Row] = []
        requests: list[Row] = []
        size = 0
        with self._lock:
            waiting = {request["uuid"] for request in self._requests}
            while self._queue and (
                (len(rows) < GROUP_EVENTS and size < GROUP_BYTES)
                or (requests and self._queue[0]["request"] == requests[-1]["uuid"])
            ):
                rows.append(self._queue.popleft())
                size += _size(rows[-1])
                whole = rows[-1]["request"]
                while whole in waiting and not (requests and requests[-1]["uuid"] == whole):
                    requests.append(self._requests.popleft())
            if self._requests and not rows:  # the queue had no room for its rows
                requests.append(self._requests.popleft())
            self._bytes -= size + sum(map(_request_size, requests))
            dropped, self._dropped = self._dropped, 0
        return rows, requests, dropped


def shortened(address: str) -> str:
    """Return an address without the part that identifies a person: /24 for IPv4, /48 for IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def row(one: Rejected, received: int, address: str, request_id: str, sender: IngestKey | None = None) -> Row:
    """Return a rejected event as a row for the store.

    An event that the ingest key of its sender may not send gets no owner. Otherwise a customer's key could show events
    to another customer's users, who might send them again.
    """
    text, codes, first = one.text[:MAX_TEXT], codes_of(one.text), one.field_errors[0]
    reasons = [fault.message for fault in one.field_errors[:MAX_REASONS]]
    if len(one.field_errors) > MAX_REASONS:
        reasons.append(f"And {len(one.field_errors) - MAX_REASONS} more.")
    if sender and not sender.allows(codes["customer"], codes["product"]):
        reasons.append(f"The ingest key {sender.name} may not send events of this customer and product.")
        codes["customer"] = ""
    return {
        "received_at": received,
        "address": address,
        "request_id": request_id,
        "place": one.place,
        "event": text,
        "field": first.field,
        "fault": "missing" if first.code == MISSING else "unknown" if first.is_unknown else "wrong",
        "reasons": reasons,
        "bytes": len(text.encode()) + sum(map(len, reasons)),
    } | codes


def is_forbidden(one: RejectedEvent) -> bool:
    """Return whether the ingest key of a rejected event may not send it, i.e. it names a customer but has no owner."""
    return not one.customer and bool(codes_of(one.event)["customer"])


def texts_of(request: RejectedRequest) -> tuple[dict[int, str], set[int]]:
    """Return the events of a refused request as JSON by their places, and the places of the invalid ones."""
    batch = split_body(zstandard.decompress(request.body), request.events, lines=request.is_lines)
    texts = {place: encode_event(event) for event, place in zip(batch.events, batch.places, strict=True)}
    return texts | {one.place: one.text for one in batch.rejected}, {one.place for one in batch.rejected}


def erase_from(request: RejectedRequest, places: Collection[int]) -> None:
    """Erase events from a refused request for good; the others keep their places."""
    texts, _ = texts_of(request)
    lines = ["{}" if place in places else texts[place] for place in sorted(texts)]
    body = zstandard.ZstdCompressor(level=1).compress("\n".join(lines).encode())
    with transaction():
        store.replace_body(request.uuid, body, is_lines=True)
        store.exclude(request.uuid, sorted(places))


def _request_row(
    refused: RefusedRequest,
    rejected: Sequence[Rejected],
    sender: IngestKey | None,
    received: int,
    address: str,
    request_id: str,
) -> Row:
    """Return a refused request as a row for the store."""
    body = zstandard.ZstdCompressor(level=1).compress(refused.body)
    customers, forbidden = {event.customer for event in refused.valid}, []
    for one in rejected:
        codes = codes_of(one.text)
        if sender is None or sender.allows(codes["customer"], codes["product"]):
            customers.add(codes["customer"])
        else:
            customers.add("")
            forbidden.append(one.place)
    return {
        "received_at": received,
        "address": address,
        "request_id": request_id,
        "uuid": str(uuid.uuid4()),
        "idempotency_key": refused.key,
        "body": body,
        "bytes": len(body),
        "is_lines": refused.lines,
        "events": len(refused.valid) + len(rejected),
        "invalid": len(rejected),
        "customer": customers.pop() if len(customers) == 1 else "",
        "forbidden_places": forbidden,
    }


def _size(row: Row) -> int:
    """Return the memory in bytes that a queued event uses."""
    return ROW_BYTES + sys.getsizeof(row["event"]) + sum(map(sys.getsizeof, row["reasons"]))


def _request_size(request: Row) -> int:
    return ROW_BYTES + len(request["body"])


def codes_of(text: str) -> dict[str, str]:
    """Return the customer, product and type that an event names; empty if missing or not a possible code."""
    codes = {"customer": "", "product": "", "type": ""}
    try:
        event = json.parse(text.encode())
    except BodyMalformed:
        return codes
    if not isinstance(event, dict):
        return codes
    for name in codes:
        value = event.get(name)
        if isinstance(value, str) and len(value) <= MAX_CODE and not (CONTROL.search(value) or json.unkeepable(value)):
            codes[name] = value
    return codes
