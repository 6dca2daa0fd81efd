"""Services: the product's functions for requests, pages, commands and workers.

`start` creates the services of a process. This package does not depend on HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.config import STORE_VALID, Settings
from app.redis.queue import ReportQueue
from app.redis.rate_limit import RateLimit
from app.services.access.admission import Admission
from app.services.access.ingest_keys import IngestKeys
from app.services.alerts.alerts import Alerts
from app.services.alerts.channels import Channels
from app.services.alerts.evaluation import Evaluation
from app.services.alerts.rules import AlertRules, AlertSilences
from app.services.alerts.sender import Sender
from app.services.catalog.code_limit import CodeLimit
from app.services.catalog.editor import CatalogEditor
from app.services.catalog.listing import CatalogListing
from app.services.catalog.lookup import Catalog
from app.services.events.changes import ChangesFeed
from app.services.events.counts import Counting
from app.services.events.download import EventDownloads
from app.services.events.importing import Importing
from app.services.events.ingest import Ingest
from app.services.events.listing import Listing
from app.services.events.rejected import RejectedEvents
from app.services.events.rejected_groups import RejectedGroups
from app.services.events.resend import Resend
from app.services.events.spool import EventSpool
from app.services.events.volume import Volume
from app.services.notifications.deliveries import Deliveries
from app.services.notifications.mail_client import MailServer
from app.services.notifications.mail_sender import MailSender
from app.services.notifications.webhook_sender import WebhookSender
from app.services.notifications.webhooks import Webhooks
from app.services.operations.backup import Backups
from app.services.operations.health import Health
from app.services.operations.metrics import Metrics
from app.services.operations.move import Move
from app.services.operations.personal_data import PersonalData
from app.services.operations.request_metrics import RequestMetrics
from app.services.operations.restore import Restore
from app.services.operations.retention import Retention
from app.services.operations.scheduler import Scheduler
from app.services.operations.system import System
from app.services.operations.verify import Verifier
from app.services.people.accounts import Accounts
from app.services.people.kept_forms import KeptForms
from app.services.people.login import Login
from app.services.people.second_factors import SecondFactors
from app.services.people.sessions import Sessions
from app.services.people.single_sign_on import SingleSignOn
from app.services.reports.cleanup import Cleanup
from app.services.reports.output import Destinations
from app.services.reports.runner import AttemptContext, Runner
from app.services.reports.service import Reports
from app.services.schedules.runs import ScheduleRuns
from app.services.schedules.service import Schedules
from app.storage import open_storage
from app.storage.spool import SpoolFiles
from app.store.database import open_database
from app.store.events.writer import GroupCommitWriter
from app.support.clock import DAY_MS


@dataclass(frozen=True)
class Services:
    """The services of one process."""

    admission: Admission
    ingest: Ingest
    spool: EventSpool
    importing: Importing
    retention: Retention
    personal_data: PersonalData
    listing: Listing
    changes: ChangesFeed
    counting: Counting
    event_downloads: EventDownloads
    volume: Volume
    rejected: RejectedEvents
    resend: Resend
    rejected_groups: RejectedGroups
    catalog: Catalog
    code_limit: CodeLimit
    catalog_listing: CatalogListing
    catalog_editor: CatalogEditor
    accounts: Accounts
    login: Login
    second_factors: SecondFactors
    sessions: Sessions
    kept_forms: KeptForms
    single_sign_on: SingleSignOn
    ingest_keys: IngestKeys
    reports: Reports
    runner: Runner
    schedules: Schedules
    schedule_runs: ScheduleRuns
    webhooks: Webhooks
    alerts: Alerts
    alert_rules: AlertRules
    alert_silences: AlertSilences
    alert_evaluation: Evaluation
    channels: Channels
    webhook_sender: WebhookSender
    deliveries: Deliveries
    mail: MailSender
    health: Health
    request_metrics: RequestMetrics
    metrics: Metrics
    system: System
    scheduler: Scheduler
    backups: Backups
    restore: Restore
    verifier: Verifier
    move: Move


def start(settings: Settings) -> Services:
    """Configure the database, and create the services of a process. Nothing is connected to or written yet."""
    open_database(settings.database, settings.database_read_url)
    return build(settings)


def build(settings: Settings) -> Services:
    """Create the services of a process. No service connects to anything yet."""
    queue = ReportQueue(settings.redis, settings.report_timeout_seconds)
    catalog, code_limit = Catalog(strict=settings.catalog_mode == "strict"), CodeLimit(settings.max_codes)
    catalog_listing, listing = CatalogListing(catalog), Listing(2 * settings.max_batch_events)
    storage = open_storage(settings.storage, settings.s3_endpoint_url, settings.s3_public_url)
    limit_ms = settings.report_timeout_seconds * 1000
    destinations = Destinations(settings, storage)
    cleanup = Cleanup(queue, destinations, limit_ms, settings.report_attempts)
    keep_ms = settings.report_keep_days * DAY_MS
    context = AttemptContext(destinations, limit_ms, keep_ms, settings.report_shard_rows, queue.call_help)
    reports = Reports(settings, catalog, destinations, queue, cleanup)
    retention = Retention(reports)
    webhooks = Webhooks(settings.webhook_hosts, settings.secret)
    webhook_sender = WebhookSender(webhooks, reports)
    mail = MailSender(MailServer(settings.smtp_url, settings.mail_sender), settings.base_url, settings.secret)
    schedule_runs = ScheduleRuns(reports)
    rejected = RejectedEvents(settings.rejected_keep_days, settings.rejected_max, settings.rejected_max_bytes)
    spool = EventSpool(SpoolFiles(settings.data_dir.absolute() / "spool"))
    writer = GroupCommitWriter(settings.ingest_wait_seconds, spool if settings.spool else None)
    backups = Backups(settings, storage)
    channels = Channels(Sender(settings), settings.secret)
    deliveries = Deliveries(webhook_sender, mail, channels)
    health, request_metrics = Health(settings, queue, spool, storage, backups, channels), RequestMetrics(queue)
    alert_evaluation = Evaluation(
        lambda: [(check.name, check.problem) for check in health.glance()],
        spool.waiting,
        webhook_sender.queue,
        settings.alert_repeat,
        f"{settings.base_url}/admin/alerts",
    )
    ingest_keys = IngestKeys()
    accounts = Accounts(only_oidc=settings.oidc_only)
    sessions, single_sign_on = Sessions(settings), SingleSignOn(settings)
    sign_in_limit = RateLimit(settings.redis, local_fallback=True)
    store_valid = settings.invalid_events == STORE_VALID
    ingest = Ingest(catalog, code_limit, writer, rejected, settings.max_batch_events, store_valid=store_valid)
    resend = Resend(ingest, rejected)
    return Services(
        admission=Admission(settings, ingest_keys, RateLimit(settings.redis)),
        ingest=ingest,
        spool=spool,
        importing=Importing(catalog, code_limit, GroupCommitWriter(settings.ingest_wait_seconds)),
        listing=listing,
        changes=ChangesFeed(catalog, settings.changes_waiters),
        counting=Counting(catalog),
        event_downloads=EventDownloads(catalog, listing),
        volume=Volume(),
        retention=retention,
        personal_data=PersonalData(catalog, reports, rejected, spool),
        rejected=rejected,
        resend=resend,
        rejected_groups=RejectedGroups(resend),
        catalog=catalog,
        code_limit=code_limit,
        catalog_listing=catalog_listing,
        catalog_editor=CatalogEditor(catalog, catalog_listing),
        accounts=accounts,
        login=Login(accounts, sign_in_limit),
        second_factors=SecondFactors(settings, sign_in_limit),
        sessions=sessions,
        kept_forms=KeptForms(queue, sign_in_limit),
        single_sign_on=single_sign_on,
        ingest_keys=ingest_keys,
        reports=reports,
        runner=Runner(context, queue, cleanup),
        schedules=Schedules(catalog, webhooks, mail, settings.schedules_max),
        schedule_runs=schedule_runs,
        webhooks=webhooks,
        alerts=Alerts(),
        alert_rules=AlertRules(),
        alert_silences=AlertSilences(),
        alert_evaluation=alert_evaluation,
        channels=channels,
        webhook_sender=webhook_sender,
        deliveries=deliveries,
        mail=mail,
        health=health,
        request_metrics=request_metrics,
        metrics=Metrics(settings, queue, spool, health, request_metrics),
        system=System(settings, queue),
        scheduler=Scheduler(
            settings,
            queue,
            reports,
            spool,
            retention,
            schedule_runs,
            deliveries,
            rejected,
            backups,
            alert_evaluation,
        ),
        backups=backups,
        restore=Restore(settings, backups, destinations),
        verifier=Verifier(settings, backups, storage),
        move=Move(settings),
    )
