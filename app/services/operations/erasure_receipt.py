"""Receipt of an erasure of personal data: what was removed from where. It does not contain the value itself."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.support.clock import iso

EXPLANATION = "SHA-256 of the value in UTF-8. Anyone who knows the value can check that this receipt is about it."
ELSEWHERE = (
    "Backups of Tally. Restoring one brings the events back; erase again afterwards.",
    "Downloaded files, and report files in buckets.",
    "Copies held by programs that read events through the API.",
    "Text that people typed: names of reports, views and users, and descriptions in the catalog.",
    "Spools of other hosts. Erase again once each of them has delivered its events.",
    "Free pages of the database's files that are not yet overwritten, and its write-ahead log.",
)

DAMAGED = "The damaged file {name} in this host's spool, which may contain anyone's events."


@dataclass
class Removed:
    """Counts for one customer's product: events, rejected events, and other events in refused requests."""

    events: int = 0
    rejected: int = 0
    refused: int = 0


Pair = tuple[str, str]  # customer and product; empty if a rejected event does not name them


class CountsByPair(defaultdict[Pair, Removed]):
    """Counts by customer and product."""

    def __init__(self) -> None:
        super().__init__(Removed)

    def total(self) -> Removed:
        """Return the sum."""
        rows = self.values()
        return Removed(*(sum(getattr(row, name) for row in rows) for name in ("events", "rejected", "refused")))

    def rows(self) -> list[dict[str, object]]:
        """Return the numbers as JSON, ordered by customer and product."""
        return [
            {"customer": customer, "product": product} | asdict(self[customer, product])
            for customer, product in sorted(self)
        ]


@dataclass
class ReportFiles:
    """Reports with some of the events, by what happened to their files."""

    deleted: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)  # written again, without the events
    cancelled: list[str] = field(default_factory=list)  # the report was being written, and could not be restarted
    kept: list[str] = field(default_factory=list)  # the file stays, because deleting was not requested
    in_buckets: list[str] = field(default_factory=list)  # where Tally deletes nothing


@dataclass
class Receipt:
    """Receipt; see `as_json`. It is complete once `ended_at` is set."""

    value: str
    item: str | None
    customers: Sequence[str] | None
    requested_by: str
    began_at: int
    spooled: int = 0
    removed: CountsByPair = field(default_factory=CountsByPair)
    stored_responses: int = 0
    saved_views: list[str] = field(default_factory=list)  # without the names of the views, which may have the value
    reports: ReportFiles = field(default_factory=ReportFiles)
    damaged_spools: list[str] = field(default_factory=list)
    ended_at: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the receipt as a document."""
        return {
            "value_sha256": digest(self.value),
            "value_sha256_is": EXPLANATION,
            "context_item": self.item,
            "customers": None if self.customers is None else list(self.customers),
            "requested_by": self.requested_by,
            "began_at": iso(self.began_at),
            "ended_at": iso(self.ended_at),
            "removed": asdict(self.removed.total())
            | {"stored_responses": self.stored_responses, "delivered_from_spool": self.spooled},
            "by_customer_and_product": self.removed.rows(),
            "reports": asdict(self.reports),
            "saved_views": self.saved_views,
            "not_reached": [*ELSEWHERE, *(DAMAGED.format(name=name) for name in self.damaged_spools)],
        }


def digest(value: str) -> str:
    """Return the hash that replaces the value in the receipt and the audit log."""
    return hashlib.sha256(value.encode()).hexdigest()
