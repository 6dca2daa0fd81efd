"""Rejected events on their way in again: edited by a person, or as they are once what was in their way is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import orjson

from app.exceptions import BodyMalformed, Fault, Forbidden, InputInvalid, KeyReused, RejectedUnknown
from app.schemas import json
from app.services.audit import Audit
from app.services.ingest import Ingest
from app.services.principal import SYSTEM, Principal
from app.services.rejected import RejectedEvents
from app.store import rejected as store
from app.store.database import release, transaction
from app.store.models import RejectedEvent

THREADS = 16  # they share commits
AT_ONCE = 200  # events that are read, sent and removed together


@dataclass(frozen=True)
class Resent:
    """What became of a rejected event.

    Attributes:
        event: as it is stored, as in the answer to `POST /events`.
        earlier: whether it was stored before, by somebody else or by the first of two clicks.
    """

    event: dict[str, object]
    earlier: bool


@dataclass(frozen=True)
class Outcome:
    """How one of many fared.

    Attributes:
        reasons: why it is still refused; empty: it was sent.
    """

    id: int
    reasons: list[str]


@dataclass(frozen=True)
class Change:
    """What is changed in each of many events before they are sent again; nothing, unless it says so.

    Attributes:
        field: customer, product, type or version, which becomes `value`; or timestamp, which becomes the time at which
            the event was received.
    """

    field: str = ""
    value: str = ""

    @property
    def told(self) -> str:
        """It in words."""
        if not self.field:
            return "nothing"
        return f"{self.field}: {'the time of arrival' if self.field == 'timestamp' else self.value}"

    def applied(self, one: RejectedEvent) -> str:
        """A rejected event's text, changed.

        Raises:
            BodyMalformed: it is not JSON.
        """
        if not self.field:
            return one.event
        event = json.parse(one.event.encode())
        if not isinstance(event, dict):
            return one.event  # it is refused as it was
        value = json.Number(str(one.received)) if self.field == "timestamp" else self.value
        return json.text(event | {self.field: value})


class Resending:
    """Sends rejected events again, each at most once whoever sends it: under an idempotency key made of its id."""

    def __init__(self, ingest: Ingest, rejected: RejectedEvents, audit: Audit) -> None:
        self._ingest = ingest
        self._audit = audit
        self._rejected = rejected

    def send(self, who: Principal, key: int, text: str) -> Resent:
        """Store an event in the place of a rejected one, which goes.

        Args:
            key: the rejected event's id.
            text: the event as JSON.

        Raises:
            RejectedUnknown: there is none of that id, or it is not the caller's.
            BodyMalformed: the text is not JSON; the rejected event stays, as it does with the other errors.
            InputInvalid: the event is invalid.
            Forbidden: the event is of a customer that is not the caller's.
            StoreUnavailable: the database is away.
        """
        try:
            one = self._rejected.get(who, key)
        except RejectedUnknown:
            return self._earlier(who, key)
        sent = self._send(who, one, text)
        event = sent.event
        told = {"batch": event["batch"], "product": event["product"], "type": event["type"]}
        with transaction():
            # Whoever removes it records the act: also where the process that stored the event died before it could.
            if self._rejected.remove(one):
                name = f"rejected event {one.id}"
                self._audit.note(who, "rejected event sent again", name, told, customer=event["customer"])
        return sent

    def send_as_they_are(self, keys: Iterable[int] | None) -> Iterator[Outcome]:
        """Send rejected events again unchanged, for whoever runs commands on the server; those that pass go.

        Args:
            keys: their ids; None: all that there are now.

        Raises:
            RejectedUnknown: there is none of such an id.
            StoreUnavailable: the database is away; those sent so far are stored once, whatever is sent again.
        """
        pages = self._all() if keys is None else [[self._rejected.get(SYSTEM, key) for key in keys]]
        with ThreadPoolExecutor(THREADS) as pool:
            for page in pages:
                yield from self._send_page(SYSTEM, page, Change(), pool)

    def send_some(self, who: Principal, page: Sequence[RejectedEvent], change: Change) -> list[Outcome]:
        """Send rejected events again, each changed alike; those that pass go.

        Raises:
            StoreUnavailable: the database is away; those sent so far are stored once, whatever is sent again.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            return self._send_page(who, page, change, pool)

    def _send_page(
        self, who: Principal, page: Sequence[RejectedEvent], change: Change, pool: ThreadPoolExecutor
    ) -> list[Outcome]:
        outcomes = list(pool.map(lambda one: self._try(who, one, change), page))
        store.remove([outcome.id for outcome in outcomes if not outcome.reasons])
        return outcomes

    def _all(self) -> Iterator[list[RejectedEvent]]:
        newest = store.newest(1)
        last, end = 0, newest[0].id if newest else 0
        while page := store.oldest(AT_ONCE, after=last, up_to=end):
            last = page[-1].id
            yield page

    def _try(self, who: Principal, one: RejectedEvent, change: Change) -> Outcome:
        try:
            self._send(who, one, change.applied(one))
        except InputInvalid as error:
            return Outcome(one.id, [fault.message for fault in error.faults])
        except (BodyMalformed, Forbidden) as error:
            return Outcome(one.id, [str(error)])
        finally:
            release()
        return Outcome(one.id, [])

    def _send(self, who: Principal, one: RejectedEvent, text: str) -> Resent:
        value = json.parse(text.encode())
        customer = value.get("customer") if isinstance(value, dict) else None
        if isinstance(customer, str) and not who.sees(customer):
            raise Forbidden(f"You may not send events of the customer {customer}.")
        body = f"[{json.text(value)}]".encode()  # one event, whatever was typed
        try:
            receipt = self._ingest.accept(body, None, key=_key(one.id))
        except KeyReused:
            return self._earlier(who, one.id)
        except InputInvalid as error:
            faults = [_without_place(fault) for fault in error.faults]
            raise InputInvalid("The event is still invalid.", faults) from None
        return Resent(orjson.loads(receipt.answer)[0], receipt.replayed)

    def _earlier(self, who: Principal, key: int) -> Resent:
        """What somebody else stored in its place.

        Raises:
            RejectedUnknown: nobody did, or it is not the caller's.
        """
        answer = self._ingest.answer(_key(key))
        event = orjson.loads(answer)[0] if answer else None
        if event is None or not who.sees(event["customer"]):
            raise RejectedUnknown(f"There is no rejected event {key}: it was sent again, or removed.")
        return Resent(event, earlier=True)


def _without_place(fault: Fault) -> Fault:
    """A fault of the only event."""
    message = fault.message.removeprefix("events[0].")
    return replace(fault, message=message.replace("events[0]", "The event", 1))


def _key(key: int) -> str:
    return f"\x01resend-{key}"  # no client's key has a control character
