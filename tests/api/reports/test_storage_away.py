"""A database that cannot be reached: 503, when to try again, and no word of success."""

from __future__ import annotations

import pytest

from app.ops import logs
from tests.support.client import event, root

AWAY = "postgresql://nobody@127.0.0.1:1/tally"
pytestmark = pytest.mark.settings(database_url=AWAY, ingest_wait_seconds=1, spool=False)


@pytest.fixture
def database_url() -> str:
    """None: one that is away needs no other."""
    return AWAY


def test_events_are_refused_with_a_word_when_to_try_again(nobody):
    answer = nobody.post("/events", [event()])
    assert (answer.status_code, root(answer)) == (503, "REQUEST_GENERAL_FAILURE")
    assert int(answer.headers["Retry-After"]) > 0
    assert "Nothing was stored" in answer.get_json()[0]["value"]["message"]


def test_reports_too(nobody):
    answer = nobody.get("/reports", headers={"Authorization": "Basic YTpi"})
    assert (answer.status_code, root(answer)) == (503, "REQUEST_GENERAL_FAILURE")
    assert int(answer.headers["Retry-After"]) > 0


def test_what_needs_no_database_is_answered(nobody):
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
def test_nobody_is_told_where_it_is(nobody, capsys, verb, path):
    body = {"json": [event()]} if path == "/events" else {}
    answer = nobody.request(verb, path, headers={"Authorization": "Basic YTpi"}, **body)
    for word in ("127.0.0.1", "port 1", "nobody", "Connection refused", "psycopg"):
        assert word not in answer.get_data(as_text=True)


def test_the_log_has_it(nobody, capfd, settings):
    logs.configure("text")
    nobody.post("/events", [event()])
    assert "127.0.0.1" in capfd.readouterr().err
