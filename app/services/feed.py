"""Reading events back: pages of the newest first, within what the asker may see."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import msgspec

from app.exceptions import Fault, Forbidden, InputInvalid
from app.schemas.events import FullEvent
from app.services.accounts import Principal
from app.store import feed as store
from app.store.feed import Wanted

CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,18})")


@dataclass(frozen=True)
class Page:
    """Some events, newest first, and the cursor of the next page if there is one."""

    events: list[FullEvent]
    next: str | None


class Feed:
    """The events, for whoever may see them."""

    def page(self, who: Principal, wanted: Wanted, limit: int, after: str | None = None) -> Page:
        """A page of the newest events.

        Args:
            after: `next` of the page before.

        Raises:
            Forbidden: the customer is not the caller's.
            InputInvalid: `after` is not a cursor.
        """
        if wanted.customer is not None and not who.sees(wanted.customer):
            raise Forbidden(f"You may not see data of the customer {wanted.customer}.")
        wanted = replace(wanted, customers=who.customers, after=_position(after) if after is not None else None)
        rows = store.page(wanted, limit + 1)
        more = _cursor(rows[limit - 1]) if len(rows) > limit else None
        return Page([_event(row) for row in rows[:limit]], more)


def _position(cursor: str) -> store.Position:
    match = CURSOR.fullmatch(cursor)
    if not match:
        message = f'after is "{cursor[:60]}"; it must be the value of next in an earlier answer.'
        raise InputInvalid("A query parameter is wrong.", [Fault(message)])
    return int(match[1]), int(match[2])


def _cursor(row: tuple) -> str:
    return f"{row[4]}-{row[-1]}"


def _event(row: tuple) -> FullEvent:
    customer, product, kind, version, timestamp, context, sequence, batch, received, _ = row
    items = msgspec.json.decode(context) if isinstance(context, str) else context
    given = msgspec.UNSET if version is None else version
    return FullEvent(customer, product, kind, given, timestamp, items, sequence, str(batch), received)
