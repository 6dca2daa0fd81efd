"""What the product does, for whoever asks: a request, a page, a command or a worker.

`build` puts the services of one process together; nothing in here knows of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.config import STORE_VALID, Settings
from app.redis.queue import ReportQueue
from app.redis.rate_limit import Rates
from app.services.access.admission import Gate
from app.services.access.ingest_keys import Keys
from app.services.catalog.code_limit import Ceiling
from app.services.catalog.editor import Cataloguing
from app.services.catalog.listing import Entries
from app.services.catalog.lookup import Catalog
from app.services.events.importing import Importing
from app.services.events.ingest import Ingest
from app.services.events.listing import Feed
from app.services.events.rejected import RejectedEvents
from app.services.events.rejected_groups import RejectedGroups
from app.services.events.resend import Resending
from app.services.events.spool import Spooling
from app.services.events.volume import Traffic
from app.services.operations.health import Health
from app.services.operations.metrics import Metrics
from app.services.operations.request_metrics import Meter
from app.services.operations.retention import Erasing
from app.services.operations.scheduler import DAY_MS, Upkeep
from app.services.operations.system import System
from app.services.people.accounts import Accounts
from app.services.people.audit import Audit
from app.services.people.login import Door
from app.services.people.sessions import Sessions
from app.services.reports.attempt import Means
from app.services.reports.cleanup import Sweeper
from app.services.reports.destinations import Filing
from app.services.reports.runner import Running
from app.services.reports.service import Reports
from app.services.schedules.runs import ScheduleRuns
from app.services.schedules.service import Schedules
from app.services.schedules.webhooks import Webhooks
from app.storage import open_storage
from app.storage.spool import Spool
from app.store.events.writer import Writer


@dataclass(frozen=True)
class Services:
    """The services of one process."""

    gate: Gate
    ingest: Ingest
    importing: Importing
    erasing: Erasing
    feed: Feed
    traffic: Traffic
    rejected: RejectedEvents
    resending: Resending
    rejected_groups: RejectedGroups
    catalog: Catalog
    entries: Entries
    cataloguing: Cataloguing
    audit: Audit
    accounts: Accounts
    door: Door
    sessions: Sessions
    keys: Keys
    reports: Reports
    running: Running
    schedules: Schedules
    schedule_runs: ScheduleRuns
    webhooks: Webhooks
    health: Health
    meter: Meter
    metrics: Metrics
    system: System
    upkeep: Upkeep


def build(settings: Settings) -> Services:
    """Put the services together; nothing connects yet."""
    queue = ReportQueue(settings.redis, settings.report_timeout_seconds)
    catalog = Catalog(strict=settings.catalog_mode == "strict", ceiling=Ceiling(settings.max_codes))
    entries, audit = Entries(catalog), Audit()
    storage = open_storage(settings.storage, settings.s3_endpoint_url, settings.s3_public_url)
    limit_ms = settings.report_timeout_seconds * 1000
    filing = Filing(settings, storage)
    sweeper = Sweeper(queue, filing, limit_ms, settings.report_attempts)
    keep_ms = settings.report_keep_days * DAY_MS
    means = Means(filing, limit_ms, keep_ms, settings.report_shard_rows, queue.call_help)
    reports = Reports(settings, catalog, filing, queue, sweeper, audit)
    erasing = Erasing(reports, audit)
    webhooks = Webhooks(settings.webhook_hosts, settings.secret, reports)
    schedule_runs = ScheduleRuns(reports)
    rejected = RejectedEvents(settings.rejected_keep_days, settings.rejected_max, settings.rejected_max_bytes)
    spooling = Spooling(Spool(settings.data_dir.absolute() / "spool"))
    writer = Writer(settings.ingest_wait_seconds, spooling if settings.spool else None)
    health, meter = Health(settings, queue, spooling, storage), Meter(queue)
    keys = Keys()
    accounts = Accounts()
    sessions = Sessions(settings)
    store_valid = settings.invalid_events == STORE_VALID
    ingest = Ingest(catalog, writer, rejected, settings.max_batch_events, store_valid=store_valid)
    resending = Resending(ingest, rejected, audit)
    return Services(
        gate=Gate(settings, keys, Rates(settings.redis)),
        ingest=ingest,
        importing=Importing(catalog, Writer(settings.ingest_wait_seconds)),
        feed=Feed(2 * settings.max_batch_events),
        traffic=Traffic(),
        erasing=erasing,
        rejected=rejected,
        resending=resending,
        rejected_groups=RejectedGroups(resending, audit),
        catalog=catalog,
        entries=entries,
        cataloguing=Cataloguing(catalog, entries, audit),
        audit=audit,
        accounts=accounts,
        door=Door(accounts, Rates(settings.redis, alone=True)),
        sessions=sessions,
        keys=keys,
        reports=reports,
        running=Running(lambda report: means, queue, sweeper),
        schedules=Schedules(catalog, webhooks, settings.schedules_max),
        schedule_runs=schedule_runs,
        webhooks=webhooks,
        health=health,
        meter=meter,
        metrics=Metrics(settings, queue, spooling, health, meter),
        system=System(settings, queue),
        upkeep=Upkeep(settings, queue, reports, spooling, erasing, schedule_runs, webhooks, rejected),
    )
