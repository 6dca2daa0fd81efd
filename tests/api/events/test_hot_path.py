"""The hot path of `POST /events` and Flask alone respond to every request identically."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from app import create_app
from app.exceptions import OutcomeUnknown
from app.ops.logs import request_id
from app.services.events.ingest import Ingest
from app.store.models import Event, RejectedEvent, RejectedRequest
from tests.faults.conftest import times
from tests.support.client import Client, event

DATABASE = "sqlite"  # the choice between the two does not depend on the database

UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OWN_ID = re.compile(rb"[0-9a-f]{32}")
CONFIGURATIONS = [
    {},
    {"ingest_auth": "key"},
    {"cors_origins": ("https://a.example", "https://b.example")},
    {"trusted_hosts": ("tally.example", "[::1]"), "trusted_proxies": 1},
    {"public_url": "https://tally.example/tally", "invalid_events": "store-valid"},
    {"catalog_mode": "strict", "max_body_bytes": 1024, "max_batch_events": 5},
]
PLAIN = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/events",
    "QUERY_STRING": "",
    "CONTENT_TYPE": "application/json",
    "CONTENT_LENGTH": "{}",
    "HTTP_HOST": "tally.example",
    "HTTP_AUTHORIZATION": "Bearer active",
    "REMOTE_ADDR": "192.0.2.7",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.url_scheme": "http",
}
UNUSUAL = {
    "REQUEST_METHOD": ["GET", "HEAD", "OPTIONS", "PUT", "post"],
    "PATH_INFO": ["/tally/events", "/events/", "//events", "/tally", "/Events", "/event"],
    "QUERY_STRING": ["key=other", "x=1", "key=a&key=b", "customer=A"],
    "CONTENT_TYPE": ["application/json; charset=utf-8", "text/plain", "x/y", None],
    "CONTENT_LENGTH": ["{more}", "{less}", "0", "", "+1", "1e1", "0{}", "²"],
    "HTTP_HOST": ["TALLY.example:80", "a.example", "[::1]:8000", "under_score", "a b", "a..b", "", "x" * 64, None],
    "HTTP_CONTENT_ENCODING": ["gzip", "identity", "br"],
    "HTTP_ORIGIN": ["https://a.example", "https://evil.example", "null", ""],
    "HTTP_SEC_FETCH_SITE": ["cross-site", "same-origin"],
    "HTTP_AUTHORIZATION": [None, "Bearer revoked", "Bearer bound", "Basic active", "Bearer other", "é", "Basic !", ""],
    "HTTP_X_REQUEST_ID": ["a client's", "mine-1", "", "é"],
    "HTTP_X_FORWARDED_FOR": ["203.0.113.5", "203.0.113.5:81", "junk, 198.51.100.9", ""],
    "HTTP_EXPECT": ["100-continue"],
    "HTTP_TRANSFER_ENCODING": ["chunked"],
    "HTTP_PREFER": ["handling=lenient", "handling=strict", "respond-async"],
    "HTTP_IDEMPOTENCY_KEY": ["key", "", "é"],
    "HTTP_COOKIE": ["tally=x"],
}
EVENTS = [
    event(),
    event(customer="FERNHILL"),
    event(context=["Zürich", None, "x"]),
    event(timestamp=-1),
    event(type=None),
    event(product="NOT-KNOWN"),
    event(later="a field of a newer SDK"),
    5,
]
ODD = [b"", b"{", b"[1,", b"\xff", b"null", b'"x"', b"[" + b" " * 2_000 + b"]", b"[]" + b" " * 99_999]
numbers = count()


@pytest.fixture
def tokens(services) -> dict[str, str]:
    """Return an active key, a revoked one, and one of another customer, by name."""
    made = {name: services.ingest_keys.add(name)[1] for name in ("active", "revoked")}
    made["bound"] = services.ingest_keys.add("bound", ["FERNHILL"])[1]
    services.ingest_keys.revoke(services.ingest_keys.named("revoked"))
    return made


@pytest.fixture
def applications(settings, app, sample_catalog) -> Iterator[list]:
    """Return the application with and without the hot path, on one database."""
    apps = [create_app(replace(settings, hot_path=on)) for on in (True, False)]
    yield apps
    for application in apps:
        application.extensions["services"].ingest_keys.flush()


def bodies() -> SearchStrategy[bytes]:
    some = st.lists(st.sampled_from(EVENTS), max_size=6)
    shaped = some.flatmap(lambda some: st.sampled_from([{"events": some}, some, {"events": some, "a": 1}, {"a": some}]))
    valid = st.lists(st.sampled_from(EVENTS[:3]), max_size=4)
    return st.one_of(st.one_of(valid, shaped).map(lambda value: json.dumps(value).encode()), st.sampled_from(ODD))


@st.composite
def requests(draw: Callable) -> tuple[dict, bytes]:
    """Generate a request as a WSGI server passes it: a plain one, or one with one or two differences."""
    body, unusual = draw(bodies()), draw(st.sets(st.sampled_from(sorted(UNUSUAL)), max_size=2))
    environ = PLAIN | {name: draw(st.sampled_from(UNUSUAL[name])) for name in unusual}
    if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
        body = gzip.compress(body, mtime=0)
    environ["CONTENT_LENGTH"] = environ["CONTENT_LENGTH"].format(len(body), less=len(body) // 2, more=len(body) + 5)
    return {name: value for name, value in environ.items() if value is not None}, body


def outcome(app, tokens: dict[str, str], environ: dict, body: bytes) -> tuple:
    """Return the response, less random values, and what the request stored, rejected and counted."""
    services, environ = app.extensions["services"], environ | {"wsgi.input": io.BytesIO(body)}
    if "HTTP_AUTHORIZATION" in environ:
        environ["HTTP_AUTHORIZATION"] = _authorization(environ["HTTP_AUTHORIZATION"], tokens)
    if environ.get("HTTP_IDEMPOTENCY_KEY") == "key":
        environ["HTTP_IDEMPOTENCY_KEY"] = f"key {next(numbers)}"
    for table in (Event, RejectedEvent, RejectedRequest):
        table.delete().execute()
    before, started = _counted(services), []
    pieces = app.wsgi_app(environ, lambda status, headers, error=None: started.append((status, headers)))
    answer = OWN_ID.sub(b"ID", UUID.sub(b"UUID", b"".join(pieces)))
    [(status, headers)] = started
    services.rejected.flush()
    after = _counted(services)
    left = [
        sorted(Event.select(Event.customer, Event.type, Event.context, Event.sequence).tuples()),
        sorted(RejectedEvent.select(RejectedEvent.address, RejectedEvent.event, RejectedEvent.reasons).tuples()),
        sorted(RejectedRequest.select(RejectedRequest.body).tuples()),
        {kind: number - before.get(kind, 0) for kind, number in after.items() if number != before.get(kind, 0)},
    ]
    return status, sorted((name, OWN_ID.sub(b"ID", value.encode())) for name, value in headers), answer, left


def _authorization(given: str, tokens: dict[str, str]) -> str:
    scheme, _, name = given.partition(" ")
    token = tokens.get(name, name)
    is_basic = scheme == "Basic" and name in tokens
    return f"{scheme} {base64.b64encode(f'{token}:'.encode()).decode()}" if is_basic else given.replace(name, token)


def _counted(services) -> dict:
    services.request_metrics.flush()
    return {kind: int(sum(times[:-1])) for kind, times in services.request_metrics.all().items()}


@pytest.mark.parametrize(
    "changes",
    [pytest.param(one, marks=pytest.mark.settings(**one), id=" ".join(one) or "defaults") for one in CONFIGURATIONS],
)
def test_both_respond_and_store_identically(changes, applications, tokens):
    statuses = set()

    @settings(max_examples=times(20, 3_000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(requests())
    @example((PLAIN | {"CONTENT_LENGTH": "2"}, b"[]"))
    def check(request: tuple[dict, bytes]) -> None:
        hot, flask = (outcome(way, tokens, *request) for way in applications)
        assert hot == flask
        statuses.add(hot[0])

    check()
    assert "200 OK" in statuses


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer active"}, {"Origin": "https://a.example"}])
def test_a_plain_request_does_not_reach_flask(app, tokens, headers, monkeypatch):
    monkeypatch.setattr(type(app), "full_dispatch_request", lambda flask: pytest.fail("Flask was called"))
    headers = {name: _authorization(value, tokens) for name, value in headers.items()}
    assert Client(app, None).post("/events", [event()], headers=headers).status_code == 200


@pytest.mark.settings(hot_path=False)
def test_the_setting_disables_it(app, nobody, monkeypatch):
    monkeypatch.setattr("app.hot_path.HotPath.__call__", lambda *args: pytest.fail("the hot path was called"))
    assert nobody.post("/events", [event()]).status_code == 200


@pytest.mark.parametrize(("error", "status"), [(OutcomeUnknown("Lost."), 503), (ZeroDivisionError(), 500)])
def test_errors_are_left_to_flask_and_nothing_runs_twice(applications, error, status, monkeypatch):
    tries = []

    def fail(*args: object, **kwargs: object) -> None:
        tries.append(args)
        raise error

    monkeypatch.setattr(Ingest, "accept", fail)
    hot, flask = (Client(way, None).post("/events", [event()], headers={"X-Request-ID": "one"}) for way in applications)
    assert (hot.status_code, hot.data, sorted(hot.headers)) == (status, flask.data, sorted(flask.headers))
    assert len(tries) == 2


@pytest.mark.settings(rate_limit_address=1)
@pytest.mark.parametrize(("seconds", "status"), [(None, 200), (7, 429)])
def test_a_request_is_counted_once_and_limited_identically(applications, monkeypatch, seconds, status):
    counted = []
    monkeypatch.setattr("app.redis.rate_limit.RateLimit.count", lambda rates, *who: counted.append(who) or seconds)
    hot, flask = (Client(way, None).post("/events", [event()]) for way in applications)
    assert hot.status_code == flask.status_code == status
    assert hot.headers.get("Retry-After") == flask.headers.get("Retry-After")
    assert len(counted) == 2


def test_log_lines_about_a_request_have_its_id(nobody, monkeypatch):
    accept, ids = Ingest.accept, []

    def look_and_accept(*args: object, **kwargs: object) -> object:
        ids.append(request_id.get())
        return accept(*args, **kwargs)

    monkeypatch.setattr(Ingest, "accept", look_and_accept)
    nobody.post("/events", [event()], headers={"X-Request-ID": "mine-1"})
    assert [*ids, request_id.get()] == ["mine-1", None]
