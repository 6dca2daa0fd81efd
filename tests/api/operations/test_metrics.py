"""`/metrics`: numbers of the whole service, read by Prometheus's own parser, even while parts of it are unavailable."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from app import create_app
from app.exceptions import QueueUnavailable
from app.redis.queue import NAME, SCHEDULER, connect
from app.services.operations import request_metrics
from app.services.people.principal import SYSTEM
from app.store.database import database, release
from app.version import VERSION
from tests.conftest import finish_database_threads
from tests.support.client import FIRST, Client, event
from tests.support.pace import slack
from tests.support.rows import fill

TOKEN = "a-token-for-the-tests"
UNITS = ("_total", "_seconds", "_bytes", "_info", "_bucket")
COUNTS = {"tally_up", "tally_reports", "tally_workers", "tally_workers_busy", "tally_rejected_events"}
COUNTS |= {"tally_events_stored", "tally_events_uncounted", "tally_spool_events"}


@pytest.fixture
def read(nobody, uncached):
    """Return a function that reads all numbers, by name and label values."""

    def numbers() -> dict[str, dict[tuple[str, ...], float]]:
        return read_metrics(nobody)

    return numbers


def read_metrics(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        name: {tuple(sample.labels.values()): sample.value for sample in samples}
        for name, samples in parse_families(answer.get_data(as_text=True))
    }


def parse_families(text: str) -> Iterator[tuple[str, list]]:
    for family in text_string_to_metric_families(text):
        yield family.name, family.samples


def count_events(services) -> None:
    """Count new events, as the scheduler does every two seconds."""
    services.scheduler.count()


def test_the_response_is_prometheus_text_and_has_the_version(nobody):
    answer = nobody.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f'tally_build_info{{version="{VERSION}"}} 1.0\n' in answer.get_data(as_text=True)


def test_names_follow_the_conventions_of_prometheus_and_have_help_texts(nobody, services):
    services.scheduler.run_all()
    nobody.get("/health/live")
    services.request_metrics.flush()
    for family in text_string_to_metric_families(nobody.get("/metrics").get_data(as_text=True)):
        assert re.fullmatch(r"tally_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "histogram")
        for sample in family.samples:
            assert sample.name.removesuffix("_count").removesuffix("_sum").endswith(UNITS) or sample.name in COUNTS
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_new_events_show_in_the_counters_after_counting_and_in_the_lag_before(nobody, services, read):
    nobody.send(event(), event())
    time.sleep(0.01)
    before = read()
    assert before["tally_events_uncounted"] == {(): 2}
    assert 0 < before["tally_events_count_lag_seconds"][()] < 60
    count_events(services)
    nobody.send(event(timestamp=FIRST + 7_200_000))
    count_events(services)
    after = read()
    assert (after["tally_events_accepted"], after["tally_events_stored"]) == ({(): 3}, {(): 3})
    assert (after["tally_events_uncounted"], after["tally_events_count_lag_seconds"]) == ({(): 0}, {(): 0})


def test_erasing_decreases_the_stored_events_but_not_the_accepted_ones(nobody, services, app, read):
    nobody.send(event(), event(customer="FERNHILL"))
    erased = app.test_cli_runner().invoke(args=["events", "erase", "--customer", "FERNHILL", "--yes"])
    assert erased.exit_code == 0, erased.output
    numbers = read()
    assert (numbers["tally_events_accepted"], numbers["tally_events_stored"]) == ({(): 2}, {(): 1})


def test_rejected_events_are_counted_permanently_by_field_and_error(nobody, services, read):
    for wrong in ({"timestamp": "noon"}, {"timestamp": "noon"}, {"type": None}):
        nobody.post("/events", [event(**wrong)])
    nobody.post("/events", [7])
    finish_database_threads()
    counted = {("wrong", "timestamp"): 2, ("missing", "type"): 1, ("wrong", "event"): 1}
    assert read()["tally_events_rejected"] == counted
    assert read()["tally_rejected_events"] == {(): 4}
    for rejected in services.rejected.page(add_reader(services), 10):
        services.rejected.discard(SYSTEM, rejected)
    assert read()["tally_events_rejected"] == counted
    assert read()["tally_rejected_events"] == {(): 0}


def add_reader(services):
    return services.accounts.add("reader", "admin", None, "correct horse")


def test_reports_are_counted_by_state_with_the_longest_wait(admin, services, read):
    admin.send(event())
    jobs = [admin.start_report()["job"] for _ in range(3)]
    services.runner.run(jobs[0])
    admin.request("DELETE", f"/reports/JOB-{jobs[1]}")
    time.sleep(0.01)
    numbers = read()
    some = {"queued": 1, "complete": 1, "cancelled": 1, "running": 0, "expired": 0, "timed_out": 0, "failed": 0}
    assert numbers["tally_reports"] == {(state,): number for state, number in some.items()}
    assert 0 < numbers["tally_report_wait_seconds"][()] < 60
    services.runner.run(jobs[2])
    admin.request("DELETE", f"/reports/JOB-{jobs[2]}")
    numbers = read()
    assert (numbers["tally_reports"]["queued",], numbers["tally_reports"]["expired",]) == (0, 1)
    assert numbers["tally_report_wait_seconds"] == {(): 0}


def test_a_worker_is_busy_while_it_writes(admin, services, read, monkeypatch):
    admin.send(event())
    job, readings = admin.start_report()["job"], []
    plan = services.runner.claim

    def look(*args: object) -> object:
        report = plan(*args)
        readings.append(read())
        return report

    monkeypatch.setattr(services.runner, "claim", look)
    services.runner.run(job, "a worker")
    assert [reading["tally_workers_busy"] for reading in [*readings, read()]] == [{(): 1}, {(): 0}]
    assert readings[0]["tally_reports"]["running",] == 1


def test_workers_and_the_scheduler_are_reported_by_their_heartbeats(read, services, redis_url):
    before = read()
    assert before["tally_workers"] == {(): 0}
    assert "tally_scheduler_seen_timestamp_seconds" not in before
    assert (before["tally_up"]["worker",], before["tally_up"]["scheduler",]) == (0, 0)
    for _ in range(2):
        register(Redis.from_url(redis_url))
    services.scheduler.run_all()
    after = read()
    assert after["tally_workers"] == {(): 2}
    assert (
        abs(after["tally_scheduler_seen_timestamp_seconds"][()] - float(Redis.from_url(redis_url).get(SCHEDULER))) < 1
    )
    assert set(after["tally_up"].values()) == {1}


def register(connection: Redis) -> None:
    """Register a worker."""
    queue = Queue(NAME, connection=connection, serializer=JSONSerializer)
    Worker([queue], connection=connection, serializer=JSONSerializer).register_birth()


def test_every_process_reports_the_same_numbers(nobody, settings, services, uncached):
    nobody.send(event())
    nobody.post("/events", [event(type=7)])
    finish_database_threads()
    count_events(services)
    other = create_app(settings)
    answers = [client.get("/metrics").get_data(as_text=True) for client in (nobody, Client(other, None))]
    first, second = ([line for line in text.splitlines() if "tally_disk" not in line] for text in answers)
    assert first == second


def test_metrics_contain_nothing_about_customers(nobody, services, read):
    nobody.send(event(customer="SECRETIVE", product="HUSH", type="QUIET"))
    count_events(services)
    text = nobody.get("/metrics").get_data(as_text=True)
    assert not re.search("SECRETIVE|HUSH|QUIET|user-1", text)


class TestRequests:
    """Each process counts its requests, and Redis has the sums."""

    @pytest.fixture
    def times(self, read):
        """Return a function that gives the cumulative histogram of a method, route and status."""

        def histogram(*kind: str) -> dict[str, float]:
            selected, buckets = set(kind), {}
            for labels, number in read().get("tally_http_request_duration_seconds", {}).items():
                if selected < set(labels):
                    buckets |= dict.fromkeys(set(labels) - selected, number)
            return buckets

        return histogram

    def test_requests_of_all_processes_are_summed(self, nobody, settings, services, times):
        other = create_app(settings)
        for client in (nobody, nobody, Client(other, None)):
            client.send(event())
        nobody.post("/events", [event(type=7)])
        for process in (services, other.extensions["services"]):
            process.request_metrics.flush()
            process.request_metrics.flush()
        assert times("POST", "/events", "200")["+Inf"] == 3
        assert times("POST", "/events", "400")["+Inf"] == 1

    def test_each_request_counts_in_its_bucket_and_all_above(self, services, times):
        for seconds in (0.0001, 0.005, 0.02, 7, 100):
            services.request_metrics.note("GET", "/slow", 200, seconds)
        services.request_metrics.flush()
        assert times("GET", "/slow", "200") == {
            "0.005": 2, "0.01": 2, "0.025": 3, "0.05": 3, "0.1": 3, "0.25": 3, "0.5": 3, "1.0": 3, "2.5": 3,
            "10.0": 4, "+Inf": 5,
        }  # fmt: skip

    def test_clients_cannot_add_routes_or_methods(self, nobody, services, times):
        for number in range(3):
            nobody.get(f"/of-mine/{number}")
            nobody.request(f"VERB{number}", "/events")
        services.request_metrics.flush()
        assert set(services.request_metrics.all()) == {("other", "none", 404), ("other", "none", 405)}

    def test_counts_wait_in_memory_while_redis_is_unavailable(self, nobody, services, times, monkeypatch):
        nobody.send(event())
        with monkeypatch.context() as patch, pytest.raises(QueueUnavailable):
            patch.setattr(services.reports.queue, "connection", lambda: connect("unix:///nowhere.sock"))
            services.request_metrics.flush()
        nobody.send(event())
        services.request_metrics.flush()
        assert times("POST", "/events", "200")["+Inf"] == 2

    def test_a_thread_flushes_them_and_ends(self, services, times, monkeypatch):
        monkeypatch.setattr(request_metrics, "PAUSE_SECONDS", 0.01)
        services.request_metrics.note("GET", "/here", 200, 0.1)
        services.request_metrics._run()
        assert times("GET", "/here", "200")["+Inf"] == 1


class TestUnavailable:
    """Metrics report the available parts of the service."""

    @pytest.mark.settings(redis_url="unix:///nowhere/redis.sock")
    def test_without_redis_the_database_is_reported(self, nobody, services, read):
        nobody.send(event())
        count_events(services)
        numbers = read()
        assert numbers["tally_up"]["redis",] == 0
        assert numbers["tally_up"]["database",] == 1
        assert numbers["tally_events_stored"] == {(): 1}
        assert "tally_workers" not in numbers

    def test_without_the_database_redis_and_the_disk_are_reported(self, settings, redis_url, tmp_path):
        away = create_app(with_database(settings, "postgresql://127.0.0.1:1/tally"))
        numbers = read_metrics(Client(away, None))
        assert (numbers["tally_up"]["database",], numbers["tally_up"]["redis",]) == (0, 1)
        assert numbers["tally_workers"] == {(): 0}
        assert numbers["tally_disk_free_bytes"][()] > 0
        assert not {"tally_events_stored", "tally_reports", "tally_workers_busy"} & set(numbers)

    def test_a_database_without_tables_is_unavailable(self, settings, tmp_path):
        numbers = read_metrics(Client(create_app(with_database(settings, f"sqlite:///{tmp_path}/empty.db")), None))
        release()
        assert numbers["tally_up"]["database",] == 0
        assert "tally_events_stored" not in numbers

    def test_a_database_that_hangs_delays_the_response_only_briefly(self, settings, uncached, monkeypatch):
        go = threading.Event()
        monkeypatch.setattr("app.store.operations.metrics.by_state", lambda: go.wait(30))
        monkeypatch.setattr("app.services.operations.metrics.ANSWER_SECONDS", 0.2)
        client = Client(create_app(settings), None)
        began = time.monotonic()
        assert "tally_reports" not in read_metrics(client)
        assert "tally_reports" not in read_metrics(client), "nor is it asked again while it hangs"
        assert time.monotonic() - began < slack(3)
        monkeypatch.undo()
        go.set()


def with_database(settings, url: str):
    return type(settings)(**{**vars(settings), "database_url": url})


def test_no_query_scans_the_events(nobody, services, read, monkeypatch):
    """Each statement on the table of events reads one end of its key."""
    fill(50)
    asked = []
    execute = database.obj.execute_sql
    monkeypatch.setattr(database.obj, "execute_sql", lambda sql, *args: asked.append(sql) or execute(sql, *args))
    assert read()["tally_events_uncounted"] == {(): 50}
    about_events = [sql for sql in asked if re.search(r'FROM "?event\b', sql)]
    assert len(about_events) == 2
    for sql in about_events:
        assert re.search(r'max\("?t1"?\."?id"?\)|ORDER BY "t1"\."id" LIMIT', sql, re.IGNORECASE), sql


@pytest.mark.settings(trusted_hosts=("tally.example",))
def test_prometheus_may_use_the_ip_address(nobody):
    assert nobody.get("/metrics", headers={"Host": "10.0.0.7:8000"}).status_code == 200


class TestToken:
    pytestmark = pytest.mark.settings(metrics_token=TOKEN)

    @pytest.mark.parametrize(
        "given", [None, "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Token {TOKEN}", "Basic eA=="]
    )
    def test_requests_without_the_token_are_rejected(self, nobody, given):
        answer = nobody.get("/metrics", headers={"Authorization": given} if given else {})
        assert (answer.status_code, answer.get_json()) == (401, {"message": "Unauthorized"})
        assert answer.headers["WWW-Authenticate"] == "Basic"

    def test_the_token_is_accepted_as_bearer_and_as_basic_password(self, app, nobody):
        assert nobody.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert Client(app, ("prometheus", TOKEN)).get("/metrics").status_code == 200

    def test_a_users_password_is_not_accepted(self, admin):
        assert admin.get("/metrics").status_code == 401

    def test_it_is_documented(self, nobody):
        document = nobody.get("/openapi.json").get_json()
        assert document["paths"]["/metrics"]["get"]["security"] == [{"Token": []}]
        assert "401" in document["paths"]["/metrics"]["get"]["responses"]
        assert document["components"]["securitySchemes"]["Token"]["scheme"] == "bearer"
