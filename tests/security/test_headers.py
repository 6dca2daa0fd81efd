"""What browsers are told with every page, file and redirect."""

from __future__ import annotations

import pytest

from tests.security.matrix import rows
from tests.security.test_authorization import PATHS
from tests.security.world import World

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
PEOPLES = [path for path in PATHS if path.startswith("/admin")]


@pytest.mark.parametrize("path", PEOPLES)
def test_everything_of_the_dashboard_is_private_and_bound(app, path):
    world = World(app)
    for verb in ("GET", "POST"):
        for who in ("nobody", "analyst", "admin"):
            headers = world.ask(who, verb, path).headers
            assert headers["Cache-Control"] == "private, no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Content-Security-Policy"] == POLICY
            signed = "signature=" in headers.get("Location", "")
            assert headers["Referrer-Policy"] == ("no-referrer" if signed else "same-origin")


@pytest.mark.parametrize("path", [path for path in PATHS if f"GET {path}" in rows() and path not in PEOPLES])
def test_nowhere_may_a_page_run_what_is_written_into_it(app, path):
    answer = World(app).ask("admin", "GET", path)
    answer.close()
    policy = answer.headers.get("Content-Security-Policy", "")
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'self'") or answer.content_type == "application/json"


def test_a_page_that_is_not_there_and_one_that_fails_are_marked_too(boss, services, monkeypatch):
    monkeypatch.setattr(services.accounts, "everyone", lambda **_: 1 / 0)
    for path, status in (("/admin/nothing", 404), ("/admin/people", 500)):
        answer = boss.get(path)
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["Cache-Control"] == "private, no-store"
