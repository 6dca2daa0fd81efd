"""Filter for rejected events, as pages and commands accept it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import replace

from app.exceptions import FieldError
from app.schemas.field_errors import to_input_error
from app.services.events.rejected import shortened
from app.services.people.principal import Principal
from app.store.events.rejected_filter import RejectedFilter

MAX_TEXT = 200
STORED_BITS = {4: 24, 6: 48}  # of addresses, see `shortened`
FAULTS = {"missing": "is missing", "unknown": "is not known", "wrong": "is wrong"}
_FAULTS_OF = dict.fromkeys(("customer", "product", "type"), tuple(FAULTS)) | {
    "version": ("wrong",),
    "timestamp": ("missing", "wrong"),
    "context": ("missing", "wrong"),
}
# The first field and fault of an event, by their name in a query.
REASONS: dict[str, tuple[str, str | None]] = {
    "event": ("", None),
    **{f"{field}-{fault}": (field, fault) for field, faults in _FAULTS_OF.items() for fault in faults},
}


def describe_reason(field: str, fault: str | None) -> str:
    """Return a description of why an event was rejected."""
    return f"{field} {FAULTS.get(fault or '', 'is wrong')}" if field else "Not an event"


def rejected_filter(
    *,
    customer: str | None = None,
    product: str | None = None,
    type: str | None = None,
    reason: str | None = None,
    start: int | None = None,
    end: int | None = None,
    origin: str | None = None,
    text: str | None = None,
) -> RejectedFilter:
    """Return the filter of a query. None or an empty text means all.

    Args:
        reason: one of REASONS.
        origin: the client's address or network, or the X-Request-ID of the request.

    Raises:
        InputInvalid: the reason does not exist, the text is too long, the time ends before it starts, or the network is
            larger than the part of addresses that is stored.
    """
    faults = []
    if reason and reason not in REASONS:
        faults.append(FieldError(f'reason is "{reason[:60]}"; it must be one of {", ".join(REASONS)}.', field="reason"))
    if text and len(text) > MAX_TEXT:
        faults.append(FieldError(f"text has {len(text):,} characters; it must have at most {MAX_TEXT}.", field="text"))
    if start is not None and end is not None and end < start:
        faults.append(FieldError("end is before start; it must be the same or later.", field="end"))
    network = None
    with suppress(ValueError):  # it is a request id
        network = ipaddress.ip_network(origin or "", strict=False)
    if network is not None and network.prefixlen < STORED_BITS[network.version]:
        stored = STORED_BITS[network.version]
        message = (
            f"origin is {network}; addresses are stored as networks of /{stored}, so give one of these or smaller."
        )
        faults.append(FieldError(message, field="origin"))
    if faults:
        raise to_input_error(faults, "The filter", "nothing was searched")
    field, fault = REASONS[reason] if reason else (None, None)
    wanted = RejectedFilter(
        customer=customer or None,
        product=product or None,
        type=type or None,
        field=field,
        fault=fault,
        start=start,
        end=end,
        text=text or "",
    )
    if network is not None:
        return replace(wanted, address=shortened(str(network.network_address)))
    return replace(wanted, request_id=origin) if origin else wanted


def within_reach(who: Principal, wanted: RejectedFilter, before: int | None) -> RejectedFilter:
    """Return a filter limited to the events that a page's search for its text reads.

    Args:
        before: an id, which the events of the page precede.
    """
    return wanted.visible_to(who.customers).within_reach(before)
