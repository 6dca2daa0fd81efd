"""`/metrics`: numbers of the whole service, read back by Prometheus's own parser, also while half of it is away."""

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
from app.store.database import database, release
from app.version import VERSION
from tests.conftest import finish_rejected
from tests.support.client import FIRST, Client, event
from tests.support.pace import slack
from tests.support.rows import fill

TOKEN = "a-token-for-the-tests"
UNITS = ("_total", "_seconds", "_bytes", "_info", "_bucket")
COUNTS = {"tally_up", "tally_reports", "tally_workers", "tally_workers_busy", "tally_rejected_events"}
COUNTS |= {"tally_events_stored", "tally_events_uncounted", "tally_spool_events"}


@pytest.fixture
def fresh(services) -> None:
    """Nothing is kept for a moment."""
    services.metrics._kept.seconds = services.health._glances.seconds = 0


@pytest.fixture
def read(nobody, fresh):
    """A function that reads all numbers: by name, then by the values of the labels."""

    def numbers() -> dict[str, dict[tuple[str, ...], float]]:
        return parsed(nobody)

    return numbers


def parsed(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        name: {tuple(sample.labels.values()): sample.value for sample in samples}
        for name, samples in grouped(answer.get_data(as_text=True))
    }


def grouped(text: str) -> Iterator[tuple[str, list]]:
    for family in text_string_to_metric_families(text):
        yield family.name, family.samples


def count(services) -> None:
    """What the scheduler does every two seconds."""
    services.scheduler._count()


def test_it_is_prometheus_text_and_says_which_version_answers(nobody):
    answer = nobody.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f'tally_build_info{{version="{VERSION}"}} 1.0\n' in answer.get_data(as_text=True)


def test_every_name_is_as_prometheus_would_have_it_and_is_explained(nobody, services):
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


def test_events_are_counted_once_they_are_and_until_then_the_lag_says_so(nobody, services, read):
    nobody.send(event(), event())
    time.sleep(0.01)
    before = read()
    assert before["tally_events_uncounted"] == {(): 2}
    assert 0 < before["tally_events_count_lag_seconds"][()] < 60
    count(services)
    nobody.send(event(timestamp=FIRST + 7_200_000))
    count(services)
    after = read()
    assert (after["tally_events_accepted"], after["tally_events_stored"]) == ({(): 3}, {(): 3})
    assert (after["tally_events_uncounted"], after["tally_events_count_lag_seconds"]) == ({(): 0}, {(): 0})


def test_erasing_takes_events_off_what_is_stored_and_never_off_what_was_accepted(nobody, services, app, read):
    nobody.send(event(), event(customer="FERNHILL"))
    erased = app.test_cli_runner().invoke(args=["events", "erase", "--customer", "FERNHILL", "--yes"])
    assert erased.exit_code == 0, erased.output
    numbers = read()
    assert (numbers["tally_events_accepted"], numbers["tally_events_stored"]) == ({(): 2}, {(): 1})


def test_rejected_events_are_counted_by_field_and_fault_for_good(nobody, services, read):
    for wrong in ({"timestamp": "noon"}, {"timestamp": "noon"}, {"type": None}):
        nobody.post("/events", [event(**wrong)])
    nobody.post("/events", [7])
    finish_rejected()
    counted = {("wrong", "timestamp"): 2, ("missing", "type"): 1, ("wrong", "event"): 1}
    assert read()["tally_events_rejected"] == counted
    assert read()["tally_rejected_events"] == {(): 4}
    for one in services.rejected.page(who(services), 10):
        services.rejected.remove(one)
    assert read()["tally_events_rejected"] == counted
    assert read()["tally_rejected_events"] == {(): 0}


def who(services):
    return services.accounts.add("reader", "admin", None, "correct horse")


def test_reports_are_counted_by_state_and_the_longest_wait_is_told(admin, services, read):
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
    job, seen = admin.start_report()["job"], []
    plan = services.runner.claim

    def look(*args: object) -> object:
        report = plan(*args)
        seen.append(read())
        return report

    monkeypatch.setattr(services.runner, "_claim", look)
    services.runner.run(job, "a worker")
    assert [one["tally_workers_busy"] for one in [*seen, read()]] == [{(): 1}, {(): 0}]
    assert seen[0]["tally_reports"]["running",] == 1


def test_workers_and_the_scheduler_are_told_as_they_were_heard_from(read, services, redis_url):
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
    """A worker that is there."""
    queue = Queue(NAME, connection=connection, serializer=JSONSerializer)
    Worker([queue], connection=connection, serializer=JSONSerializer).register_birth()


def test_another_process_tells_the_same(nobody, settings, services, fresh):
    nobody.send(event())
    nobody.post("/events", [event(type=7)])
    finish_rejected()
    count(services)
    other = create_app(settings)
    answers = [client.get("/metrics").get_data(as_text=True) for client in (nobody, Client(other, None))]
    first, second = ([line for line in text.splitlines() if "tally_disk" not in line] for text in answers)
    assert first == second


def test_nothing_of_a_customer_is_told(nobody, services, read):
    nobody.send(event(customer="SECRETIVE", product="HUSH", type="QUIET"))
    count(services)
    text = nobody.get("/metrics").get_data(as_text=True)
    assert not re.search("SECRETIVE|HUSH|QUIET|user-1", text)


class TestRequests:
    """Requests are counted by every process for itself, and added up in Redis."""

    @pytest.fixture
    def times(self, read):
        """A function that gives how many requests of a verb, route and status took at most how many seconds."""

        def told(*kind: str) -> dict[str, float]:
            wanted, found = set(kind), {}
            for labels, number in read().get("tally_http_request_duration_seconds", {}).items():
                if wanted < set(labels):
                    found |= dict.fromkeys(set(labels) - wanted, number)
            return found

        return told

    def test_those_of_all_processes_are_one_number(self, nobody, settings, services, times):
        other = create_app(settings)
        for client in (nobody, nobody, Client(other, None)):
            client.send(event())
        nobody.post("/events", [event(type=7)])
        for one in (services, other.extensions["services"]):
            one.request_metrics.flush()
            one.request_metrics.flush()
        assert times("POST", "/events", "200")["+Inf"] == 3
        assert times("POST", "/events", "400")["+Inf"] == 1

    def test_each_is_in_the_bound_that_it_kept_and_in_all_above(self, services, times):
        for seconds in (0.0001, 0.005, 0.02, 7, 100):
            services.request_metrics.note("GET", "/slow", 200, seconds)
        services.request_metrics.flush()
        assert times("GET", "/slow", "200") == {
            "0.005": 2, "0.01": 2, "0.025": 3, "0.05": 3, "0.1": 3, "0.25": 3, "0.5": 3, "1.0": 3, "2.5": 3,
            "10.0": 4, "+Inf": 5,
        }  # fmt: skip

    def test_nobody_invents_routes_or_verbs(self, nobody, services, times):
        for number in range(3):
            nobody.get(f"/of-mine/{number}")
            nobody.request(f"VERB{number}", "/events")
        services.request_metrics.flush()
        assert set(services.request_metrics.all()) == {("other", "none", 404), ("other", "none", 405)}

    def test_while_redis_is_away_they_are_kept(self, nobody, services, times):
        queue = services.request_metrics._queue
        nobody.send(event())
        connection, queue._connection = queue.connection(), connect("unix:///nowhere.sock")
        with pytest.raises(QueueUnavailable):
            services.request_metrics.flush()
        nobody.send(event())
        queue._connection = connection
        services.request_metrics.flush()
        assert times("POST", "/events", "200")["+Inf"] == 2

    def test_a_thread_hands_them_over_and_ends(self, services, times, monkeypatch):
        monkeypatch.setattr(request_metrics, "PAUSE_SECONDS", 0.01)
        services.request_metrics.note("GET", "/here", 200, 0.1)
        services.request_metrics._run()
        assert times("GET", "/here", "200")["+Inf"] == 1


class TestAway:
    """Half of the service is away; the other half is told."""

    @pytest.mark.settings(redis_url="unix:///nowhere/redis.sock")
    def test_without_redis_the_database_is_told(self, nobody, services, read):
        nobody.send(event())
        count(services)
        numbers = read()
        assert numbers["tally_up"]["redis",] == 0
        assert numbers["tally_up"]["database",] == 1
        assert numbers["tally_events_stored"] == {(): 1}
        assert "tally_workers" not in numbers

    def test_without_the_database_redis_and_the_disk_are_told(self, settings, redis_url, tmp_path):
        away = create_app(with_database(settings, "postgresql://127.0.0.1:1/tally"))
        numbers = parsed(Client(away, None))
        assert (numbers["tally_up"]["database",], numbers["tally_up"]["redis",]) == (0, 1)
        assert numbers["tally_workers"] == {(): 0}
        assert numbers["tally_disk_free_bytes"][()] > 0
        assert not {"tally_events_stored", "tally_reports", "tally_workers_busy"} & set(numbers)

    def test_a_database_without_tables_is_away_too(self, settings, tmp_path):
        numbers = parsed(Client(create_app(with_database(settings, f"sqlite:///{tmp_path}/empty.db")), None))
        release()
        assert numbers["tally_up"]["database",] == 0
        assert "tally_events_stored" not in numbers

    def test_a_database_that_hangs_keeps_nobody_waiting_for_long(self, services, read, monkeypatch):
        go = threading.Event()
        monkeypatch.setattr("app.store.operations.metrics.by_state", lambda: go.wait(30))
        monkeypatch.setattr(services.metrics._recorded, "_seconds", 0.2)
        began = time.monotonic()
        assert "tally_reports" not in read()
        assert "tally_reports" not in read(), "nor is it asked again while it hangs"
        assert time.monotonic() - began < slack(3)
        monkeypatch.undo()
        go.set()


def with_database(settings, url: str):
    return type(settings)(**{**vars(settings), "database_url": url})


def test_no_number_is_counted_over_the_events(nobody, services, read, monkeypatch):
    """Each statement about the table of events goes to one end of its key."""
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
def test_prometheus_may_ask_by_address(nobody):
    assert nobody.get("/metrics", headers={"Host": "10.0.0.7:8000"}).status_code == 200


class TestAToken:
    pytestmark = pytest.mark.settings(metrics_token=TOKEN)

    @pytest.mark.parametrize(
        "given", [None, "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Token {TOKEN}", "Basic eA=="]
    )
    def test_without_it_nobody_reads_them(self, nobody, given):
        answer = nobody.get("/metrics", headers={"Authorization": given} if given else {})
        assert (answer.status_code, answer.get_json()) == (401, {"message": "Unauthorized"})
        assert answer.headers["WWW-Authenticate"] == "Basic"

    def test_with_it_they_are_read_as_bearer_or_as_the_password_of_basic(self, app, nobody):
        assert nobody.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert Client(app, ("prometheus", TOKEN)).get("/metrics").status_code == 200

    def test_a_users_password_is_none(self, admin):
        assert admin.get("/metrics").status_code == 401

    def test_it_is_documented(self, nobody):
        told = nobody.get("/openapi.json").get_json()
        assert told["paths"]["/metrics"]["get"]["security"] == [{"Token": []}]
        assert "401" in told["paths"]["/metrics"]["get"]["responses"]
        assert told["components"]["securitySchemes"]["Token"]["scheme"] == "bearer"
