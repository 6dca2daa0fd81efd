"""Data of the screenshots: a service in which everything has happened that a page can show.

Events, rejected events, users, keys and reports arrive as usual; `backfill` changes some into states that take days.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from redis import Redis
from rq.worker_registration import WORKERS_BY_QUEUE_KEY
from werkzeug.serving import make_server

from app import create_app
from app.config import Settings
from app.redis.queue import NAME, SCHEDULER
from app.services.alerts.learning import learn_series
from app.services.notifications.mail_sender import NO_ACCESS
from app.services.notifications.webhook_sender import ANSWERED_GONE
from app.services.people import saved_views, tokens
from app.services.people.principal import SYSTEM, Principal
from app.store import database
from app.store.alerts.counts import Series
from app.store.models import RejectedEvent, Report, Schedule, ScheduleRecipient, Webhook
from app.store.notifications import recipients
from bench import backfill, processes
from bench.backfill import DAY, HOUR, MINUTE, now
from bench.demo import BATCH_EVENTS, CATALOG, Client, Stream
from bench.servers import HOST, LOG, BenchFailed, await_port, free_port, launch, own_environment, stop
from bench.service import PASSWORD

EVENTS, DAYS = 160_000, 61
PATIENCE_SECONDS = 120
PUBLIC_URL = "http://127.0.0.1:8000"  # as after `make run`, whatever port is free now
HOOKS = "hooks.example.com"
MAIL = "smtp://localhost:1"
SLACK = "hooks.slack.com"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_1) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26 Safari/605"
PERSON, ERASED = "user-12", "user-7"
# faults of rejected events, and how many there are of each
FAULTS: Sequence[tuple[Mapping[str, object], int]] = (
    ({"timestamp": "2026-11-20T08:00:00Z"}, 31),
    ({"type": ""}, 9),
    ({"customer": None}, 6),
    ({"context": {"userId": "user-7"}}, 4),
    ({"timestamp": -1, "version": 6}, 3),
)
# codes that the catalog does not have: customer, product, type, count
UNKNOWN = (("OAKMERE", "RESEARCH", "RESEARCH-NOTE-OPENED", 140), ("BARCHART", "PORTFOLIO", "PORTFOLIO-SHARED", 240))
USERS = (
    ("olga", "operator", None),
    ("anna", "analyst", ["BARCHART"]),
    ("ben", "analyst", ["HARBORLINE", "FERNHILL"]),
    ("mira", "admin", None),
    ("paul", "operator", None),  # deactivated
)
VIEWS = (
    ("admin", "events", "customer=BARCHART&product=PORTFOLIO&range=24h", "Portfolio, last day", True),
    ("admin", "reports", "state=failed", "Failed reports", False),
    ("anna", "events", "product=WATCHLIST&types=WATCHLIST-CREATED&range=7d", "New watchlists of the week", True),
)
TOKENS = (  # name, scopes, customers, days
    ("warehouse import", ["events:read"], [], 365),
    ("weekly report of Barchart", ["reports:read", "reports:write"], ["BARCHART"], 90),
    ("Prometheus", ["admin:system"], [], 90),
    ("old laptop", ["events:read"], [], 30),
)
KEYS = (
    ("web shop", (), ()),
    ("portfolio app", ("BARCHART", "HARBORLINE"), ("PORTFOLIO",)),
    ("old watchlist app", (), ("WATCHLIST",)),
)

CHANNELS: Sequence[tuple[str, Mapping[str, object]]] = (
    ("Operations", {"addresses": ["operations@example.com", "on-call@example.com"]}),
    ("Chat of the team", {"url": f"https://{SLACK}/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"}),
)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Run a service on SQLite with a Valkey of its own, which has only the sample catalog and the user `admin`."""
    port = free_port()
    own = {"REDIS_URL": "", "DATA_DIR": str(folder / "var"), "STORAGE_URL": "", "PUBLIC_URL": PUBLIC_URL}
    own |= {"ADMIN_PASSWORD": PASSWORD, "WORKERS": "2", "WEBHOOK_HOSTS": HOOKS, "SMTP_URL": MAIL}
    own |= {"ALERT_HOSTS": SLACK}
    environment = {**own_environment(folder, f"sqlite:///{folder}/events.db", port), **own}
    process = launch([sys.executable, "-m", "flask", "--app", "wsgi", "serve"], folder, environment)
    try:
        await_port(process, port, "service", folder / LOG)
        found = Scene(port, process.pid, folder)
        found.until(found.is_well, "is not ready")
        found._services.catalog.load_sample()
        yield found
    finally:
        database.release()
        stop(process)


class Scene:
    """A running service, and the methods that make things happen in it.

    Attributes:
        rules: its URL map.
    """

    def __init__(self, port: int, pid: int, folder: Path) -> None:
        self.port = port
        self._pid, self._folder = pid, folder
        same = {"database_url": f"sqlite:///{folder}/events.db", "secret_key": "of-the-benchmark-alone"}
        same |= {"webhook_hosts": (HOOKS,), "alert_hosts": (SLACK,), "smtp_url": MAIL}
        settings = Settings(data_dir=folder / "var", **same)
        app = create_app(settings)
        self.rules = app.url_map
        self._services = app.extensions["services"]
        self._redis = Redis.from_url(settings.redis)
        self._chance = random.Random(11)
        self._moving: Report | None = None

    @contextmanager
    def with_single_sign_on(self, **settings: bool) -> Iterator[str]:
        """Serve the pages with an identity provider, which nothing contacts, and return their URL."""
        provider = {"oidc_issuer": "https://login.example.com", "oidc_client_id": "tally"}
        own = {"data_dir": self._folder / "single-sign-on", "secret_key": "of-the-benchmark-alone"}
        own |= {"database_url": f"sqlite:///{self._folder}/events.db", "oidc_roles": ("staff=operator",)}
        server = make_server(HOST, 0, create_app(Settings(**own | provider | settings)), threaded=True)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.port}"
        finally:
            server.shutdown()

    @property
    def url(self) -> str:
        """Return the URL of the service."""
        return f"http://{HOST}:{self.port}"

    @property
    def secret(self) -> str:
        """Return the address of the page that asks before it creates a new webhook secret."""
        return f"/admin/reports/webhooks/{Webhook.select().order_by(Webhook.id).first().id}/rotate"

    @property
    def person(self) -> str:
        """Return a value that events of several customers have."""
        return PERSON

    @property
    def erasure(self) -> str:
        """Return the address of the receipt of an erasure."""
        return f"/admin/events/personal-data/receipts/{self._erased}"

    @property
    def unsubscribe(self) -> str:
        """Return the address of the page that asks before it unsubscribes a recipient of mail."""
        found = ScheduleRecipient.get(ScheduleRecipient.removed_at.is_null())
        url = self._services.mail._unsubscribe_url(found.schedule, found.account, found.added_at)
        return urlsplit(url).path

    def report(self, **wanted: object) -> str:
        """Return the source of the newest report in a state."""
        found = Report.select().where(*[getattr(Report, name) == value for name, value in wanted.items()])
        return f"JOB-{found.order_by(Report.id.desc()).get().job}"

    def until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        """Wait for a condition.

        Raises:
            BenchFailed: it takes too long.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > end:
                raise BenchFailed(f"The service {otherwise}.")
            time.sleep(0.1)

    def is_well(self) -> bool:
        """Return whether all programs it needs are installed."""
        return not any(check.problem for check in self._services.health.checks())

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> int:
        """Return the status of a response."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        connection.request(verb, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status

    def play(self) -> None:
        """Make everything happen."""
        self._hire()
        self._send()
        self._refuse()
        self._erased = self._services.personal_data.erase(self._who("admin"), {"value": ERASED}, delete_files=True)[1]
        self._report()
        self._recur()
        self._alert()
        backfill.spread(self._chance)
        for worker in self._workers():
            self._redis.hset(f"rq:worker:{worker}", "hostname", "tally-1")

    def go_on(self) -> None:
        """Send some events with the current time, and restore the states that pictures show."""
        self._post(self._within(14, 9_000))
        backfill.hold(self._moving)
        backfill.restore_alerts()

    @contextmanager
    def in_trouble(self) -> Iterator[None]:
        """Suspend worker and scheduler within the context."""
        held = [pid for pid in processes.below(self._pid) if _is_at_work(pid)]
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            self._redis.set(SCHEDULER, time.time() - 190)
            self._redis.delete(*[f"rq:worker:{worker}" for worker in self._workers()])
            yield
        finally:
            for pid in held:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _hire(self) -> None:
        """Create users of each role, sign some of them in, and create keys and tokens."""
        accounts, admin = self._services.accounts, self._who("admin")
        for name, role, customers in USERS:
            accounts.add(name, role, customers, PASSWORD, temporary=name == "ben", by=admin)
        accounts.deactivate("paul", by=admin)
        for name, browser in (("olga", FIREFOX), ("anna", SAFARI), ("anna", FIREFOX), ("admin", SAFARI)):
            self._services.sessions.begin(self._who(name), browser)
        for name, customers, products in KEYS:
            made, _ = self._services.ingest_keys.add(name, customers, products, by=admin)
        self._services.ingest_keys.revoke(made, by=admin)
        for name, scopes, customers, days in TOKENS:
            token, text = tokens.add(self._who("admin"), name, scopes, customers, days)
            tokens.verify(text, "")
        tokens.revoke(token, by=admin)
        tokens.add(self._who("anna"), "notebook", ["events:read", "reports:write"])
        for user, page, query, name, is_shared in VIEWS:
            saved_views.add(self._who(user), page, query, name, is_shared=is_shared)

    def _send(self) -> None:
        self._post(self._stream().events(EVENTS, DAYS, now() - HOUR))
        self._post(self._within(400, HOUR))
        for customer, product, kind, number in UNKNOWN:
            strange = {"customer": customer, "product": product, "type": kind, "context": ["user-12", "note-4"]}
            self._post({**strange, "timestamp": now() - one * 5 * MINUTE} for one in range(number))
        self.until(lambda: self._services.system.uncounted() == 0, "does not count its events")

    def _within(self, count: int, milliseconds: int) -> Iterator[dict]:
        """Return events with times within the last so many milliseconds."""
        times = sorted(now() - self._chance.randrange(milliseconds) for _ in range(count))
        for event, moment in zip(self._stream().events(count, 1, now()), times, strict=True):
            yield event | {"timestamp": moment}

    def _refuse(self) -> None:
        events = list(self._within(200, HOUR))
        sent = [self._chance.choice(events) | fault for fault, number in FAULTS for _ in range(number)]
        self._chance.shuffle(sent)
        body = json.dumps([*sent, "no event"]).encode()
        self.ask("POST", "/events", body, Content_Type="application/json", Prefer="handling=lenient")
        mixed = json.dumps([*events[:40], events[40] | {"timestamp": "soon"}]).encode()
        self.ask("POST", "/events", mixed, Content_Type="application/json")
        self.until(lambda: RejectedEvent.select().count() == len(sent) + 2, "does not keep rejected events")

    def _report(self) -> None:
        """Create reports in every state, the newest last."""
        today = now() // DAY * DAY
        month, week = {"start": today - 30 * DAY, "end": today - 1}, {"start": today - 7 * DAY, "end": today - 1}
        worker = self._workers()[0]
        backfill.move(self._complete("anna", "BARCHART", "WATCHLIST", month), 9 * DAY)  # its file has expired
        backfill.fail_five_times(self._complete("olga", "HARBORLINE", "PORTFOLIO", month), 27 * HOUR, worker)
        backfill.time_out(self._complete("admin", "BARCHART", "ALERT", month), 22 * HOUR)
        deleted = self._complete("olga", "FERNHILL", "WATCHLIST", week, format="jsonl")
        backfill.move(deleted, 6 * HOUR)
        self._services.reports.delete(self._who("olga"), deleted)
        backfill.move(self._complete("anna", "BARCHART", "ALERT", week, compression="gzip", header=True), 3 * HOUR)
        backfill.move(self._complete("admin", "BARCHART", "PORTFOLIO", month, header=True, delimiter=","), 40 * MINUTE)
        cancelled = self._complete("olga", "HARBORLINE", "ALERT", month)
        backfill.leave_waiting(cancelled, 12 * MINUTE)
        self._services.reports.cancel(self._who("olga"), cancelled)
        self._moving = self._complete("admin", "BARCHART", "PORTFOLIO", month, header=True)
        backfill.leave_running(self._moving, worker)
        backfill.leave_waiting(self._complete("olga", "HARBORLINE", "WATCHLIST", week), 31_000)
        backfill.leave_waiting(self._complete("anna", "BARCHART", "ALERT", month), 12_000)

    def _recur(self) -> None:
        """Create a recurring report whose webhook was repeated, another one, and a paused one."""
        hook = {"mode": "period", "webhook": f"https://{HOOKS}/tally"}
        weekly = self._schedule("Portfolio, every week", "BARCHART", "PORTFOLIO", recurrence="weekly", hour=6, **hook)
        self._schedule(
            "Alerts since the last time", "HARBORLINE", "ALERT", recurrence="daily", hour=5, mode="since_last"
        )
        monthly = {"recurrence": "monthly", "hour": 4, "mode": "period"}
        paused = self._schedule("Watchlists of the month", "FERNHILL", "WATCHLIST", **monthly)
        self._services.schedules.pause(self._who("admin"), paused)
        webhook = self._webhooks()
        for name in ("admin", "anna", "olga"):
            self._services.accounts.set_mail(self._who(name), f"{name}@example.com")
        ours, later = {self._who(name).id: name for name in ("anna", "olga")}, now() + 365 * DAY
        recipients.set_all(weekly.id, ours, later)  # the service itself sends no mail
        recipients.remove(weekly.id, self._who("anna").id, now() - 2 * HOUR, NO_ACCESS)
        for age in (7 * DAY, 9 * MINUTE):
            report = self._ended(self._services.schedule_runs.run(SYSTEM, weekly))
            backfill.move(report, age)
            backfill.record_webhook(weekly, Report.get_by_id(report.id), webhook, waits=age < HOUR)

    def _webhooks(self) -> Webhook:
        """Add a webhook that wants event types and one that is disabled, and return that of the recurring report."""
        wanted = {"name": "On call", "url": f"https://{HOOKS}/on-call", "types": ["alert.firing", "alert.resolved"]}
        self._services.webhooks.add(self._who("admin"), wanted)
        old = self._services.webhooks.add(self._who("admin"), {"name": "Old CRM", "url": f"https://{HOOKS}/crm"})
        self._services.webhooks.disable(SYSTEM, old.webhook, ANSWERED_GONE)
        Webhook.update(enabled_at=now() + 365 * DAY).execute()  # the service itself sends nothing
        return Webhook.select().order_by(Webhook.id).first()

    def _alert(self) -> None:
        """Create channels, a rule and a silence, and alerts in every state."""
        admin, product = self._who("admin"), {"kind": "stopped", "per": "product"}
        for name, target in CHANNELS:
            self._services.channels.add({"name": name} | target, by=admin)
        rule = {"name": "Portfolio of Barchart", "customer": "BARCHART", "product": "PORTFOLIO", **product}
        self._services.alert_rules.add(admin, rule | {"parameters": {"minutes": 30}, "channels": [1]})
        work = {"product": "ALERT", "hours": 4, "reason": "Upgrade of the alert app until noon"}
        self._services.alert_silences.add(self._who("olga"), work)
        learn_series(Series("", "PORTFOLIO", ""), now())
        backfill.restore_alerts()
        backfill.record_messages()

    def _complete(self, name: str, customer: str, product: str, times: Mapping[str, int], **output: object) -> Report:
        filter = {"customer": customer, "product": product, **times}
        return self._ended(self._services.reports.start(self._who(name), filter, output or None))

    def _ended(self, report: Report) -> Report:
        self.until(lambda: Report.get_by_id(report.id).status == "COMPLETE", "does not finish a report")
        return Report.get_by_id(report.id)

    def _schedule(self, name: str, customer: str, product: str, **when: object) -> Schedule:
        asked = {"name": name, "filter": {"customer": customer, "product": product}, "output": {"header": True}}
        return self._services.schedules.add(self._who("admin"), asked | when).schedule

    def _who(self, name: str) -> Principal:
        found = next(one for one in self._services.accounts.everyone() if one.name == name)
        return Principal(found.id, name, found.role, found.customers, found.password_version, "203.0.113.24")

    def _workers(self) -> list[str]:
        names = self._redis.smembers(WORKERS_BY_QUEUE_KEY % NAME)
        return sorted(name.decode().removeprefix("rq:worker:") for name in names)

    def _stream(self) -> Stream:
        return Stream(json.loads(CATALOG.read_text(encoding="utf-8")), self._chance)

    def _post(self, events: Iterable[Mapping[str, object]]) -> None:
        client, left = Client(self.url), iter(events)
        while batch := list(islice(left, BATCH_EVENTS)):
            client.post(batch)


def _is_at_work(pid: int) -> bool:
    """Return whether a process is a worker or the scheduler."""
    words = processes.command(pid)
    return words[1:3] in (["-m", "worker"], ["-m", "app.scheduler"])
