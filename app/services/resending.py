"""Rejected events on their way in again: edited by a person, or as they are once what was in their way is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import orjson

from app.exceptions import BodyMalformed, Fault, Forbidden, InputInvalid, KeyReused, RejectedUnknown
from app.schemas import json
from app.services.accounts import SYSTEM, Principal
from app.services.ingest import Ingest
from app.services.rejected import RejectedEvents
from app.store import rejected as store
from app.store.database import release
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


class Resending:
    """Sends rejected events again, each at most once whoever sends it: under an idempotency key made of its id."""

    def __init__(self, ingest: Ingest, rejected: RejectedEvents) -> None:
        self._ingest = ingest
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
        self._rejected.remove(one)
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
                outcomes = list(pool.map(self._try, page))
                store.remove([outcome.id for outcome in outcomes if not outcome.reasons])
                yield from outcomes

    def _all(self) -> Iterator[list[RejectedEvent]]:
        newest = store.newest(1)
        last, end = 0, newest[0].id if newest else 0
        while page := store.oldest(AT_ONCE, after=last, up_to=end):
            last = page[-1].id
            yield page

    def _try(self, one: RejectedEvent) -> Outcome:
        try:
            self._send(SYSTEM, one, one.event)
        except InputInvalid as error:
            return Outcome(one.id, [fault.message for fault in error.faults])
        except BodyMalformed as error:
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
