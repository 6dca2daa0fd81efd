"""The access log: a line for each request with ACCESS_LOG=on, and none without."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from app.ops import logs
from app.services.people import tokens
from tests.conftest import PASSWORD
from tests.support.client import Client, event

LINE = "request served"
KEYS = {"method", "path", "parameters", "status", "milliseconds", "bytes", "address", "caller", "agent", "request"}
UNSUBSCRIBE = "/admin/unsubscribe/signed-token"
HOSTILE = "curl/8 \x1b[2J\x9b31m é\u202e"  # a header has no line feed


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because the log does not depend on the database."""
    return sqlite_url


def lines_of(answer: Callable[[], TestResponse]) -> list[dict]:
    """Return the lines of a request, which ends when its response is closed, as by a server."""
    with capture_logs() as logged, answer() as response:
        response.get_data()
    return [line for line in logged if line["event"] == LINE]


def test_it_is_off_by_default(admin):
    assert lines_of(lambda: admin.get("/events")) == []


@pytest.mark.settings(access_log=True, trusted_proxies=1)
def test_a_request_has_a_line_with_what_an_operator_looks_for(admin):
    headers = {"X-Forwarded-For": "203.0.113.7", "User-Agent": "notebook/1.0", "X-Request-ID": "mine"}
    query = {"customer": "BARCHART", "product": "PORTFOLIO", "limit": "5"}
    admin.send(event())
    (line,) = lines_of(lambda: admin.get("/events", query_string=query, headers=headers))
    assert line.keys() == KEYS | {"event", "log_level"}
    assert line.pop("milliseconds") > 0
    assert line == {
        "event": LINE,
        "log_level": "info",
        "method": "GET",
        "path": "/events",
        "parameters": "customer,product,limit",
        "status": 200,
        "bytes": len(admin.get("/events", query_string=query).data),
        "address": "203.0.113.7",
        "caller": "user admin",
        "agent": "notebook/1.0",
        "request": "mine",
    }


@pytest.mark.settings(access_log=True)
@pytest.mark.parametrize("headers", [{}, {"Prefer": "handling=lenient"}], ids=["hot path", "flask"])
def test_events_have_a_line_with_the_name_of_their_key(services, nobody, headers):
    _, key = services.ingest_keys.add("research app")
    headers = headers | {"Authorization": f"Bearer {key}"}
    (line,) = lines_of(lambda: nobody.post("/events", [event()], headers=headers))
    assert (line["method"], line["path"], line["status"]) == ("POST", "/events", 200)
    assert line["caller"] == "key research app"
    assert line["bytes"] > 100
    assert key not in str(line)


@pytest.mark.settings(access_log=True)
def test_tokens_and_failures_are_named_and_no_secret_is(app, services, admin):
    _, token = tokens.add(services.accounts.named("admin"), "notebook", ["events:read"])
    (line,) = lines_of(lambda: Client(app, ("x", token)).get("/events"))
    assert line["caller"] == "token notebook of admin"
    (line,) = lines_of(lambda: Client(app, ("admin", "wrong")).get("/events"))
    assert (line["status"], line["caller"]) == (401, "")
    (line,) = lines_of(lambda: Client(app, None).get("/admin/unsubscribe/signed-token?a=1&a=2&%FFb=3"))
    assert (line["path"], line["parameters"]) == ("/admin/unsubscribe/…", "a,\ufffdb")
    for method, path in (("GET", f"{UNSUBSCRIBE}/"), ("PUT", UNSUBSCRIBE)):
        (line,) = lines_of(lambda method=method, path=path: app.test_client().open(path, method=method))
        assert line["status"] in (404, 405)
        assert "signed-token" not in str(line)
    (line,) = lines_of(lambda: Client(app, None).get("/nothing/é"))
    assert (line["path"], line["status"]) == ("/nothing/é", 404)
    assert PASSWORD not in str(line)


@pytest.mark.settings(access_log=True)
def test_a_file_is_counted_in_full(admin):
    admin.send(*[event() for _ in range(50)])
    job, data = admin.run_report()
    (line,) = lines_of(lambda: admin.get(f"/reports/{job['source']}", follow_redirects=False))
    assert line["status"] == 302
    link = admin.get(f"/reports/{job['source']}").headers["Location"]
    (line,) = lines_of(lambda: admin.get(link.partition("example")[2]))
    assert line["path"].startswith("/files/")
    assert line["bytes"] > 50
    assert "signature" in line["parameters"]
    assert link.partition("signature=")[2] not in str(line)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.settings(access_log=True)
def test_control_characters_of_clients_are_escaped(app, capsys, log_format):
    logs.configure(log_format)
    agent = HOSTILE.encode().decode("latin-1")
    client = Client(app, None)
    client.get("/no\x1b\u2028thing", headers={"User-Agent": agent}).close()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if LINE in line]
    assert line.isprintable()
    if log_format == "json":
        assert json.loads(line)["agent"] == HOSTILE
