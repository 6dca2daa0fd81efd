"""An unreachable database: the response is 503 with a retry time, and nothing is reported as stored."""

from __future__ import annotations

import pytest

from app.ops import logs
from tests.support.client import event, root

AWAY = "postgresql://nobody@127.0.0.1:1/tally"
pytestmark = pytest.mark.settings(database_url=AWAY, ingest_wait_seconds=1, spool=False)


@pytest.fixture
def database_url() -> str:
    """Return the address of an unreachable server, instead of the usual databases."""
    return AWAY


def test_events_are_rejected_with_a_retry_after(nobody):
    answer = nobody.post("/events", [event()])
    assert (answer.status_code, root(answer)) == (503, "REQUEST_GENERAL_FAILURE")
    assert int(answer.headers["Retry-After"]) > 0
    assert "Nothing was stored" in answer.get_json()[0]["value"]["message"]


def test_reports_are_rejected_with_a_retry_after(nobody):
    answer = nobody.get("/reports", headers={"Authorization": "Basic YTpi"})
    assert (answer.status_code, root(answer)) == (503, "REQUEST_GENERAL_FAILURE")
    assert int(answer.headers["Retry-After"]) > 0


def test_requests_that_need_no_database_succeed(nobody):
    assert nobody.get("/system/version").status_code == 200
    assert nobody.get("/health/live").status_code == 200
    assert nobody.get("/reports").status_code == 401


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/events"),
        ("GET", "/reports"),
        ("GET", "/health/ready"),
        ("GET", "/files/JOB-00000000-0000-4000-8000-000000000000?expires=1&nonce=a&signature=b"),
        ("GET", "/metrics"),
        ("GET", "/admin/sign-in"),
        ("POST", "/admin/sign-in"),
        ("GET", "/"),
    ],
)
def test_responses_do_not_reveal_the_address(nobody, capsys, verb, path):
    body = {"json": [event()]} if path == "/events" else {}
    answer = nobody.request(verb, path, headers={"Authorization": "Basic YTpi"}, **body)
    for word in ("127.0.0.1", "port 1", "nobody", "Connection refused", "psycopg"):
        assert word not in answer.get_data(as_text=True)


def test_the_log_has_the_address(nobody, capfd, settings):
    logs.configure("text")
    nobody.post("/events", [event()])
    assert "127.0.0.1" in capfd.readouterr().err
