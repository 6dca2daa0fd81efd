"""What the product does, for whoever asks: a request, a page, a command or a worker.

`build` puts the services of one process together; nothing in here knows of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.config import STORE_VALID, Settings
from app.queue import ReportQueue
from app.rates import Rates
from app.services.accounts import Accounts
from app.services.attempt import Means
from app.services.audit import Audit
from app.services.catalog import Catalog
from app.services.cataloguing import Cataloguing
from app.services.ceiling import Ceiling
from app.services.door import Door
from app.services.entries import Entries
from app.services.erasing import Erasing
from app.services.feed import Feed
from app.services.filing import Filing
from app.services.gate import Gate
from app.services.health import Health
from app.services.importing import Importing
from app.services.ingest import Ingest
from app.services.keys import Keys
from app.services.meter import Meter
from app.services.metrics import Metrics
from app.services.rejected import RejectedEvents
from app.services.rejected_groups import RejectedGroups
from app.services.reports import Reports
from app.services.resending import Resending
from app.services.running import Running
from app.services.schedule_runs import ScheduleRuns
from app.services.schedules import Schedules
from app.services.sessions import Sessions
from app.services.spooling import Spooling
from app.services.sweeping import Sweeper
from app.services.system import System
from app.services.traffic import Traffic
from app.services.upkeep import DAY_MS, Upkeep
from app.services.webhooks import Webhooks
from app.storage import open_storage
from app.storage.spool import Spool
from app.store.writer import Writer


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
