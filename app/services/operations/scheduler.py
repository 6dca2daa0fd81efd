"""Scheduler: runs periodic tasks, each at its own interval. Several processes may run the same task safely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from app.config import Settings
from app.exceptions import QueueUnavailable, StoreUnavailable
from app.redis.queue import ReportQueue
from app.services.alerts.evaluation import Evaluation
from app.services.events.rejected import RejectedEvents
from app.services.events.spool import EventSpool
from app.services.notifications.deliveries import Deliveries
from app.services.operations.backup import Backups
from app.services.operations.retention import Retention
from app.services.people import single_sign_on, tokens
from app.services.people.sessions import Sessions
from app.services.reports.service import Reports
from app.services.schedules.runs import ScheduleRuns
from app.store.database import give_back_space, index_items, release, server_time, shrink_log
from app.store.events import batches, daily_customer_counts, hourly_counts, idempotency
from app.store.people import audit
from app.support.clock import DAY_MS

SWEEP_SECONDS = 15.0
WAKE_SECONDS = 1.0  # a failed attempt is retried after as little as this
COUNT_SECONDS = 2.0
REBUILD_SECONDS = 60.0  # from one rebuild of counts to the next, because it reads all hourly counts
DELIVER_SECONDS = 1.0
SIGN_SECONDS = 5.0
PURGE_SECONDS = 600.0
EXPIRE_SECONDS = 10.0
SHRINK_SECONDS = 10.0
SCHEDULE_SECONDS = 10.0
EVALUATE_SECONDS = 10.0  # to the next look whether an evaluation of the alert rules is due
NOTIFY_SECONDS = 5.0
# A larger table of events gets the index only by command, because creating it occupies a processor for long: about
# eight minutes at this size.
MAX_INDEXED_BYTES = 4 * 1024**3
INDEX_SECONDS = 600.0  # to the next look whether the index of context items exists
BACKUP_SECONDS = 60.0  # to the next look whether a backup is due

ALERTS = "alerts"
KEY_DAYS = 2  # the API promises one day

log = structlog.get_logger(__name__)


class Scheduler:
    """Scheduler of periodic tasks.

    Attributes:
        slow: the tasks that may take long, by the names of their threads.
    """

    def __init__(
        self,
        settings: Settings,
        queue: ReportQueue,
        reports: Reports,
        spool: EventSpool,
        retention: Retention,
        schedule_runs: ScheduleRuns,
        deliveries: Deliveries,
        rejected: RejectedEvents,
        backups: Backups,
        alert_evaluation: Evaluation,
    ) -> None:
        self._settings = settings
        self._sessions = Sessions(settings)
        self._erasing = retention
        self._beat = queue.note_scheduler
        self._deliveries = deliveries
        self._rejected = rejected
        self._backups = backups
        self._alert_evaluation = alert_evaluation
        self._tasks: list[tuple[Callable[[], None], float]] = [
            (self._beat, SIGN_SECONDS),
            (reports.cleanup.clean_up, SWEEP_SECONDS),
            (reports.cleanup.wake, WAKE_SECONDS),
            (spool.deliver, DELIVER_SECONDS),
            (self.count, COUNT_SECONDS),
            (self._purge, PURGE_SECONDS),
            (self.expire, EXPIRE_SECONDS),
            (shrink_log, SHRINK_SECONDS),
            (schedule_runs.run_due, SCHEDULE_SECONDS),
            (deliveries.send, NOTIFY_SECONDS),
            (self._back_up, BACKUP_SECONDS),
            (self._evaluate_alerts, EVALUATE_SECONDS),
            (self._index_items, INDEX_SECONDS),
        ]
        self.slow: dict[str, Callable[[], None]] = {
            "counting": self.count,
            "backup": self._back_up,
            "retention": self.expire,
            ALERTS: self._evaluate_alerts,
            "index": self._index_items,
        }
        self._due = [0.0] * len(self._tasks)
        self._rebuild_at = 0.0
        self._has_noted_index = False

    def run_due(self) -> None:
        """Run the tasks that are due. A task for which the database or Redis is away is due again later."""
        for place, (task, seconds) in enumerate(self._tasks):
            if time.monotonic() >= self._due[place]:
                self._due[place] = time.monotonic() + seconds
                self._run(task)

    def run_beside(self, name: str) -> None:
        """Run a task of `slow` in a thread of its own from now on, so that the other tasks do not wait for it.

        The thread may end with the process at any time: transactions are atomic, a backup is valid only when it is
        complete, and an incomplete index is replaced.
        """
        if name == ALERTS:
            self._run(self._beat)  # the evaluation also checks whether a scheduler runs
        place = [task for task, _ in self._tasks].index(self.slow[name])
        (task, seconds), _ = self._tasks.pop(place), self._due.pop(place)

        def keep_running() -> None:
            while True:
                self._run(task)
                time.sleep(seconds)

        threading.Thread(target=keep_running, name=name, daemon=True).start()

    def run_all(self) -> None:
        """Run every task once, due or not."""
        self._due = [0.0] * len(self._tasks)
        self.run_due()

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except (StoreUnavailable, QueueUnavailable) as error:
            log.warning("periodic task not finished, it will resume", task=task.__name__.strip("_"), reason=str(error))
        except Exception:  # noqa: BLE001 - log it in full; the other tasks must not wait until this is fixed
            log.exception("periodic task failed", task=task.__name__.strip("_"))
        finally:
            release()

    def count(self) -> None:
        """Bring the counts up to date, and the records by which batches are found."""
        self._rebuild_counts()
        while hourly_counts.advance():
            self._rebuild_counts()  # while events arrive fast, there is always something to count
        batches.record_ranges()

    def _rebuild_counts(self) -> None:
        if time.monotonic() >= self._rebuild_at and daily_customer_counts.rebuild():
            self._rebuild_at = time.monotonic() + REBUILD_SECONDS

    def _back_up(self) -> None:
        """Make a backup if BACKUP_URL is set and the last one is BACKUP_EVERY hours old."""
        self._backups.run_due()

    def _evaluate_alerts(self) -> None:
        """Evaluate the alert rules once a minute."""
        self._alert_evaluation.evaluate()

    def _index_items(self) -> None:
        if not (index_items(MAX_INDEXED_BYTES) or self._has_noted_index):
            self._has_noted_index = True
            log.warning("index of context values not created", reason="many events", create="tally db index")

    def _purge(self) -> None:
        """Purge what is old, such as idempotency keys, sessions, tokens and audit entries."""
        idempotency.purge(server_time() - KEY_DAYS * DAY_MS)
        self._deliveries.purge()
        self._alert_evaluation.purge(server_time())
        self._rejected.purge()
        self._sessions.purge()
        single_sign_on.purge()
        tokens.purge()
        audit.purge(server_time() - self._settings.audit_keep_days * DAY_MS)

    def expire(self) -> None:
        """Erase events that are older than EVENT_KEEP_DAYS, and give back the space of all erased and purged rows."""
        if self._settings.event_keep_days:
            self._erasing.expire(self._settings.event_keep_days)
        give_back_space()
