"""Send rejected events again, either edited by a user or unchanged after the cause has been fixed.

An event of a refused request is sent with the whole request as one batch, because the request's valid events were
refused with it. Such an event is sent alone only on request, or if the user cannot see the whole request. The request
is then sent without it later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import orjson
import zstandard

from app.exceptions import BodyMalformed, BodyTooLarge, Forbidden, InputInvalid, KeyReused, RejectedUnknown
from app.schemas import json
from app.schemas.events import Rejected
from app.services.events import timestamps
from app.services.events.ingest import Ingest, Receipt
from app.services.events.rejected import RejectedEvents, codes_of, is_forbidden, row, texts_of
from app.services.people import audit
from app.services.people.principal import SYSTEM, Principal
from app.store.database import release, transaction
from app.store.events import rejected as store
from app.store.events.rejected_filter import ALL, RejectedFilter
from app.store.models import RejectedEvent, RejectedRequest

THREADS = 16  # they share commits
AT_ONCE = 200  # events that are read, sent and removed together
_cause = attrgetter("field", "fault", "product", "type")  # by which rejected events form a group
REPLACED = ("event", "field", "fault", "reasons", "bytes")  # columns of an event that is kept with its new reasons
FORBIDDEN_SENDER = "The ingest key that it came with may not send this event. Edit it alone, or remove it."


@dataclass(frozen=True)
class Resent:
    """Result of sending a rejected event again."""

    event: dict[str, Any]  # the event as stored, in the form of the response to `POST /events`
    earlier: bool  # whether it was already stored before, by another user or by the first of two clicks


@dataclass(frozen=True)
class ResentRequest:
    """Result of sending a refused request again."""

    batch: str | None  # the UUID of the stored batch, or None if the request had no events left
    events: int  # number of stored events
    earlier: bool  # whether the client had already sent it again under the same Idempotency-Key


@dataclass(frozen=True)
class Outcome:
    """Result for a single event or a refused request."""

    id: int | str  # id of the event, or of the request's first selected event, or the request's UUID if it has none
    reasons: list[str]  # why it is still refused; empty if it was accepted
    events: int = 1  # number of stored events, or of selected events that are still refused


@dataclass(frozen=True)
class Change:
    """Change to each of many events before they are sent again. By default, nothing changes.

    Attributes:
        field: customer, product, type or version, which becomes `value`; or timestamp, which becomes the time at which
            the event was received, or with the value ISO_8601 the event's own time, parsed as ISO 8601.
    """

    field: str = ""
    value: str = ""

    @property
    def reads_timestamps(self) -> bool:
        """Return whether timestamps are parsed as ISO 8601. Unlike other changes, this keeps their meaning."""
        return self == READ_TIMESTAMPS

    @property
    def description(self) -> str:
        """Return the change in words."""
        if not self.field:
            return "nothing"
        if self.reads_timestamps:
            return "timestamp: parsed as ISO 8601"
        return f"{self.field}: {'the time of arrival' if self.field == 'timestamp' else self.value}"

    def applied(self, one: RejectedEvent) -> str:
        """Return a rejected event's text with the change applied. Raise BodyMalformed if it is not JSON."""
        if not self.field:
            return one.event
        if self.reads_timestamps:
            return timestamps.with_milliseconds(one.event)
        event = json.parse(one.event.encode())
        if not isinstance(event, dict):
            return one.event  # it will be rejected again
        value = json.Number(str(one.received_at)) if self.field == "timestamp" else self.value
        return json.text(event | {self.field: value})


ISO_8601 = "ISO 8601"
READ_TIMESTAMPS = Change("timestamp", ISO_8601)


class Resend:
    """Resends rejected events. An idempotency key derived from the id ensures that each is stored at most once."""

    def __init__(self, ingest: Ingest, rejected: RejectedEvents) -> None:
        self._ingest = ingest
        self._rejected = rejected

    def send(self, who: Principal, key: int, text: str) -> Resent:
        """Store an event, given as JSON, in place of a rejected event, which is removed.

        Raises:
            RejectedUnknown: no rejected event has this id, or the caller may not see it.
            BodyMalformed: the text is not JSON. The rejected event remains, as with the other errors.
            InputInvalid: the event is invalid.
            Forbidden: the event has a customer that the caller may not see.
            StoreUnavailable: the database is unavailable.
        """
        try:
            one = self._rejected.get(who, key)
        except RejectedUnknown:
            return self._earlier(who, key)
        return self._send(who, one, text, by_hand=True)

    def send_request(self, who: Principal, uuid: str, edited: Mapping[int, str] | None = None) -> ResentRequest:
        """Store a refused request as one batch, and remove it. Omit events that were removed or sent alone.

        The request keeps its Idempotency-Key, if it had one. If the client sends the same request again, or has already
        done so, nothing is stored twice. If an error is raised, nothing is stored and the request remains.

        Args:
            edited: replacement events as JSON, by place.

        Raises:
            KeyReused: the client has since stored other events under the same Idempotency-Key.
            RejectedUnknown, BodyMalformed, InputInvalid, Forbidden, StoreUnavailable: see `send`.
        """
        return self._send_request(who, self._rejected.request(who, uuid), edited or {})

    def send_many(
        self, keys: Iterable[int | str] | None, wanted: RejectedFilter = ALL, change: Change = Change()
    ) -> Iterator[Outcome]:
        """Send rejected events, each with the same change, and remove those that are accepted.

        Args:
            keys: ids of events and UUIDs of refused requests. None means all events that match now, with their
                requests, and without a filter also the requests whose invalid events were removed.

        Raises:
            RejectedUnknown: an id does not exist.
            StoreUnavailable: the database is unavailable. Events sent so far are stored only once, even if sent again.
        """
        requests: Iterable[RejectedRequest] = _all_requests() if wanted.is_empty else ()
        pages: Iterable[Sequence[RejectedEvent]] = _all_events(wanted)
        if keys is not None:
            named = list(keys)
            requests = [self._rejected.request(SYSTEM, key) for key in named if isinstance(key, str)]
            pages = [[self._rejected.get(SYSTEM, key) for key in named if isinstance(key, int)]]
        tried: set[str] = set()
        with ThreadPoolExecutor(THREADS) as pool:
            for request in requests:
                tried.add(request.uuid)
                yield self._try_request(SYSTEM, request, store.members(request.uuid), change)
            for page in pages:
                yield from self._send_page(SYSTEM, page, change, pool, tried)

    def send_some(
        self, who: Principal, page: Sequence[RejectedEvent], change: Change, tried: set[str]
    ) -> list[Outcome]:
        """Send rejected events, each with the same change, and remove those that are accepted.

        `tried` has the UUIDs of requests that are not sent again; this method adds to it.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            return self._send_page(who, page, change, pool, tried)

    def _send_page(
        self, who: Principal, page: Sequence[RejectedEvent], change: Change, pool: ThreadPoolExecutor, tried: set[str]
    ) -> list[Outcome]:
        alone: list[RejectedEvent] = []
        outcomes: list[Outcome] = []
        for one in page:
            request = None
            with suppress(RejectedUnknown):
                request = self._rejected.request(who, one.request)
            if request is None and one.request not in tried:
                alone.append(one)
            elif request is not None and request.uuid not in tried:
                tried.add(request.uuid)
                alike = [other for other in store.members(request.uuid) if _cause(other) == _cause(one)]
                outcomes.append(self._try_request(who, request, alike, change))

        return outcomes + list(pool.map(lambda one: self._try_event(who, one, change), alone))

    def _try_event(self, who: Principal, one: RejectedEvent, change: Change) -> Outcome:
        """Send an event alone with a change.

        If its timestamp was parsed but the event is still invalid, store it with that timestamp and its new reasons.
        """

        def send() -> None:
            text = change.applied(one)
            try:
                self._send(who, one, text)
            except InputInvalid as error:
                if change.reads_timestamps and text != one.event and one.request is None:
                    fresh = row(Rejected(one.place, text, error.field_errors), 0, "", "")
                    store.update(one.id, {name: fresh[name] for name in REPLACED})
                raise

        return Outcome(one.id, [FORBIDDEN_SENDER] if is_forbidden(one) else _reasons(send))

    def _try_request(
        self, who: Principal, request: RejectedRequest, members: Sequence[RejectedEvent], change: Change
    ) -> Outcome:
        """Send a request with some of its rejected events changed. Timestamps are parsed in all of them."""
        stored: list[int] = []

        def send() -> None:
            changed = store.members(request.uuid) if change.reads_timestamps else members
            texts = {one: change.applied(one) for one in changed} if change.field else {}
            edited = {one.place: text for one, text in texts.items() if text != one.event}
            stored.append(self._send_request(who, request, edited, by_hand=False).events)

        reasons = _reasons(send)
        first = members[0].id if members else request.uuid
        return Outcome(first, reasons, len(members) if reasons else stored[0])

    def _send_request(
        self, who: Principal, request: RejectedRequest, edited: Mapping[int, str], *, by_hand: bool = True
    ) -> ResentRequest:
        values = {place: json.parse(text.encode()) for place, text in edited.items()}
        for value in values.values():
            _check_customer(who, value)
        excluded = set(request.excluded_places)
        barred = set(request.forbidden_places) - excluded - (set(edited) if by_hand else set())
        if barred:
            raise Forbidden(f"{FORBIDDEN_SENDER} It is event {min(barred)} of its request.")
        if not values and not excluded:
            body, lines = zstandard.decompress(request.body), request.is_lines
        else:
            texts = texts_of(request)[0] | {place: json.text(value) for place, value in values.items()}
            body, lines = "\n".join(texts[place] for place in sorted(texts) if place not in excluded).encode(), True
        key = request.idempotency_key or f"\x01resend-request-{request.uuid}"

        def claim(answer: bytes) -> None:
            """Verify, in the transaction that stores the events, that none of them is sent alone concurrently."""
            if not store.claim_request(request.uuid, request.excluded_places):
                raise RejectedUnknown(
                    "This request, or one of its events, was sent again or removed meanwhile. Look at what is left."
                )
            if by_hand:
                events = orjson.loads(answer)
                details = {"batch": events[0]["batch"] if events else None, "events": len(events)}
                name = f"refused request {request.uuid}"
                audit.note(who, "rejected request sent again", name, details, customer=request.customer)

        try:
            receipt = self._ingest.accept(body, None, lines=lines, lenient=False, key=key, also=claim)
        except KeyReused:
            raise KeyReused(
                "Other events were stored under the Idempotency-Key of this request since, most likely the same ones "
                "after a fix. Nothing was stored. If you find them among the events, remove the request."
            ) from None
        if receipt.replayed:
            _claim_late(claim, receipt)
        events = orjson.loads(receipt.answer)
        return ResentRequest(events[0]["batch"] if events else None, len(events), receipt.replayed)

    def _send(self, who: Principal, one: RejectedEvent, text: str, *, by_hand: bool = False) -> Resent:
        value = json.parse(text.encode())
        _check_customer(who, value)
        body = f"[{json.text(value)}]".encode()  # exactly one event, even if the text is an array

        def claim(answer: bytes) -> None:
            """Ensure, in the transaction that stores the event, that it is not sent with its request concurrently."""
            if not store.claim([one.id]):
                raise RejectedUnknown(f"The rejected event {one.id} was sent again or removed meanwhile.")
            if by_hand:
                event = orjson.loads(answer)[0]
                details = {name: event[name] for name in ("batch", "product", "type")}
                name = f"rejected event {one.id}"
                audit.note(who, "rejected event sent again", name, details, customer=event["customer"])

        try:
            receipt = self._ingest.accept(body, None, lenient=False, key=_key(one.id), also=claim)
        except KeyReused:
            return self._earlier(who, one.id)
        except InputInvalid as error:
            faults = []
            for fault in error.field_errors:  # without the place of the only event
                message = fault.message.removeprefix("events[0].").replace("events[0]", "The event", 1)
                faults.append(fault.with_message(message))
            raise InputInvalid("The event is still invalid.", faults) from None
        if receipt.replayed:
            _claim_late(claim, receipt)
        return Resent(orjson.loads(receipt.answer)[0], receipt.replayed)

    def _earlier(self, who: Principal, key: int) -> Resent:
        """Return the event that another user has stored in place of a rejected event."""
        answer = self._ingest.answer(_key(key))
        event = orjson.loads(answer)[0] if answer else None
        if event is None or not who.sees(event["customer"]):
            raise RejectedUnknown(f"There is no rejected event {key}: it was sent again, or removed.")
        return Resent(event, earlier=True)


def count_contents(request: RejectedRequest) -> list[tuple[str, str, int]]:
    """Return the number of events of a request to send again by customer and product, largest first."""
    texts, _ = texts_of(request)
    codes = (codes_of(text) for place, text in texts.items() if place not in request.excluded_places)
    counted = Counter((one["customer"], one["product"]) for one in codes)
    return [(customer, product, number) for (customer, product), number in counted.most_common()]


def _all_requests() -> Iterator[RejectedRequest]:
    """Yield every refused request, newest first."""
    before = None
    while page := store.requests(AT_ONCE, before=before):
        before = page[-1].id
        yield from filter(None, (store.request(listed.uuid) for listed in page))


def _all_events(wanted: RejectedFilter) -> Iterator[list[RejectedEvent]]:
    newest = store.newest(1)
    last, end = 0, newest[0].id if newest else 0
    wanted = wanted.within_reach()
    while page := store.oldest(AT_ONCE, after=last, up_to=end, wanted=wanted):
        last = page[-1].id
        yield page


def _claim_late(claim: Callable[[bytes], None], receipt: Receipt) -> None:
    """Remove what the client, or an interrupted older version, has stored without removing it."""
    with suppress(RejectedUnknown), transaction():
        claim(receipt.answer)


def _reasons(send: Callable[[], object]) -> list[str]:
    """Send an event or request, and return why it is still refused, or an empty result if it was accepted."""
    try:
        send()
    except InputInvalid as error:
        return [fault.message for fault in error.field_errors]
    except (BodyMalformed, BodyTooLarge, Forbidden, KeyReused, RejectedUnknown) as error:
        return [str(error)]
    finally:
        release()
    return []


def _check_customer(who: Principal, value: object) -> None:
    customer = value.get("customer") if isinstance(value, dict) else None
    if isinstance(customer, str) and not who.sees(customer):
        raise Forbidden(f"You may not send events of the customer {customer}.")


def _key(key: int) -> str:
    return f"\x01resend-{key}"  # a client's key cannot contain a control character
