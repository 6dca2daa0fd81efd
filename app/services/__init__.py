"""What the product does, for whoever asks: a request, a page, a command or a worker.

`build` puts the services of one process together; nothing in here knows of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Settings
from app.queue import ReportQueue
from app.services.accounts import Accounts
from app.services.catalog import Catalog
from app.services.health import Health
from app.services.ingest import Ingest
from app.services.reports import Reports
from app.storage import open_storage


@dataclass(frozen=True)
class Services:
    """The services of one process."""

    ingest: Ingest
    catalog: Catalog
    accounts: Accounts
    reports: Reports
    health: Health


def build(settings: Settings) -> Services:
    """Put the services together; nothing connects yet."""
    queue = ReportQueue(settings.redis, settings.report_timeout_seconds)
    catalog = Catalog(strict=settings.catalog_mode == "strict")
    reports = Reports(settings, catalog, open_storage(settings.storage), queue)
    return Services(Ingest(catalog), catalog, Accounts(), reports, Health(settings, queue))
