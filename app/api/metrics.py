"""`/metrics`: metrics of the service in the Prometheus text format."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from flask import Blueprint, Response, current_app, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from app.api.openapi.operations import JsonObject, Operation
from app.auth import sent_token, services
from app.exceptions import Unauthenticated
from app.services.operations.metrics import AtWork, Numbers, Recorded
from app.services.operations.request_metrics import BOUNDS
from app.services.people import tokens
from app.version import VERSION

blueprint = Blueprint("metrics", __name__)
NUMBERS: JsonObject = {
    "description": "Prometheus's text format, version 0.0.4.",
    "content": {CONTENT_TYPE_PLAIN_0_0_4: {"schema": {"type": "string"}}},
}


@blueprint.get("/metrics")
@Operation(
    "health",
    {"200": NUMBERS},
    description="Of the whole service, whichever process answers; nothing in it names a customer.",
)
def metrics() -> Response:
    """The service in numbers, for Prometheus."""
    wanted = current_app.config["SETTINGS"].metrics_token
    sent = sent_token() or ""
    if wanted and not hmac.compare_digest(sent.encode(), wanted.encode()):
        who = tokens.verify(sent, request.remote_addr or "")
        if who is None or not who.may("system"):
            raise Unauthenticated("The token is neither METRICS_TOKEN nor an API token with the scope admin:system.")
    registry = CollectorRegistry()
    registry.register(Families(services().metrics.numbers()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class Families(Collector):
    """Prometheus collector of the service's metrics. Unknown values are omitted, because a zero would be misleading."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """See Prometheus's `Collector`."""
        numbers = self._numbers
        yield InfoMetricFamily("tally_build", "The version that answers.", {"version": VERSION})
        words = "1 where what the service needs is well, 0 where the dashboard says what is wrong."
        is_up = [([check.name], 0 if check.problem else 1) for check in numbers.checks]
        yield _labelled(GaugeMetricFamily("tally_up", words, None, ["component"]), is_up)
        yield _gauge("tally_spool_events", "Events that wait in this machine's spool.", numbers.spooled)
        yield _gauge("tally_disk_free_bytes", "Room left on the disk of this machine's DATA_DIR.", numbers.free_bytes)
        yield _gauge("tally_disk_size_bytes", "Size of the disk of this machine's DATA_DIR.", numbers.disk_bytes)
        if numbers.recorded:
            yield from _collect_recorded(numbers.recorded)
        if numbers.at_work:
            yield from _collect_processes(numbers.at_work)


def _collect_recorded(found: Recorded) -> Iterator[Metric]:
    words = "Events accepted and counted, erased ones included."
    yield CounterMetricFamily("tally_events_accepted", words, found.accepted)
    yield _gauge("tally_events_stored", "Events stored and counted.", found.stored)
    yield _gauge("tally_events_uncounted", "Events, about, that are accepted and not counted yet.", found.uncounted)
    yield _gauge("tally_events_count_lag_seconds", "How long the oldest event waits to be counted.", found.lag)
    words = "Events rejected, by the first wrong field (event: the whole) and what is the matter with it."
    rejected = [((field or "event", fault or "wrong"), number) for (field, fault), number in found.rejected.items()]
    yield _labelled(CounterMetricFamily("tally_events_rejected", words, None, ["field", "fault"]), rejected)
    words = "Rejected events that were too many to be kept."
    yield CounterMetricFamily("tally_events_rejected_dropped", words, found.dropped)
    yield _gauge("tally_rejected_events", "Rejected events that are kept for a person to look at.", found.kept)
    reports = [([state], number) for state, number in found.reports.items()]
    yield _labelled(GaugeMetricFamily("tally_reports", "Reports on record, by state.", None, ["state"]), reports)
    yield _gauge("tally_report_wait_seconds", "How long the oldest report waits for a worker.", found.wait)
    yield _gauge("tally_workers_busy", "Workers that write a report, or a part of one.", found.busy)


def _collect_processes(found: AtWork) -> Iterator[Metric]:
    yield _gauge("tally_workers", "Workers heard from within the last minute.", found.workers)
    if found.scheduler is not None:
        yield _gauge("tally_scheduler_seen_timestamp_seconds", "When a scheduler was last heard from.", found.scheduler)
    words = "Seconds from the head of a request to that of its answer, its body's way to us included."
    family = HistogramMetricFamily("tally_http_request_duration_seconds", words, labels=["method", "route", "status"])
    for (verb, route, status), (*times, seconds) in sorted(found.requests.items()):
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(times), strict=True))
        family.add_metric([verb, route, str(status)], buckets, seconds)
    yield family


def _labelled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value)
