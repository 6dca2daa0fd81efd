"""Security headers of every page, file and redirect."""

from __future__ import annotations

import itertools

import pytest
import redis

from app.exceptions import StoreUnavailable
from tests.admin.test_pages import inline
from tests.conftest import PASSWORD
from tests.security.matrix import rows
from tests.security.test_authorization import PATHS
from tests.security.world import World
from tests.support.client import Client, event
from tests.support.pace import by_turns

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
BOUND = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
PEOPLES = [path for path in PATHS if path.startswith("/admin")]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because headers do not depend on the database."""
    return sqlite_url


def test_every_page_is_private_and_restricted(app, redis_url, subtests):
    """One world for all pages, because filling it takes longer than looking at a page."""
    world = World(app)
    askers = list(itertools.product(("nobody", "analyst", "admin"), ("GET", "POST")))
    for place, path in enumerate(PEOPLES):
        redis.Redis.from_url(redis_url).flushall()  # or the wrong passwords of other pages would count
        with subtests.test(path):
            for who, verb in by_turns(askers, place, 3):
                answer = world.ask(who, verb, path)
                headers = answer.headers
                assert answer.mimetype != "text/html" or inline(_ours(answer.get_data(as_text=True))) == []
                assert headers["Cache-Control"] == "private, no-store"
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["X-Frame-Options"] == "DENY"
                assert headers["Content-Security-Policy"] == POLICY
                signed = "signature=" in headers.get("Location", "")
                assert headers["Referrer-Policy"] == ("no-referrer" if signed else "same-origin")


def _ours(page: str) -> str:
    """Return a page with links to files on its own host."""
    return page.replace("https://tally.example/files/", "/files/")


def test_no_page_may_run_inline_scripts(app, subtests):
    world = World(app)
    for path in PATHS:
        if f"GET {path}" in rows() and path not in PEOPLES:
            with subtests.test(path):
                answer = world.ask("admin", "GET", path)
                answer.close()
                policy = answer.headers.get("Content-Security-Policy", "")
                assert "unsafe" not in policy
                assert policy.startswith("default-src 'self'") or answer.content_type == "application/json"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("credentials", "status"), [(("admin", PASSWORD), 400), (None, 401)])
def test_an_error_that_quotes_the_request_is_not_html(app, admin, credentials, status):
    sent = {"data": b"<script>", "content_type": "application/json"}
    answer = Client(app, credentials).request("POST", "/reports", **sent)
    assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (status, "nosniff")


ERRORS = [
    (400, "POST", "/admin/sign-out", {}),
    (404, "GET", "/admin/nothing", {}),
    (404, "GET", "/static/nothing.css", {}),
    (405, "PUT", "/admin/", {}),
    (405, "POST", "/", {}),
    (413, "POST", "/admin/sign-in", {"data": b"x" * 10_100_000, "content_type": "multipart/form-data; boundary=x"}),
    (500, "GET", "/admin/people", {}),
    (503, "GET", "/admin/reports", {}),
    (308, "GET", "/admin", {}),
    (308, "GET", "/docs", {}),
    (302, "GET", "/", {}),
]


@pytest.mark.parametrize(("status", "verb", "path", "given"), ERRORS)
def test_every_error_and_every_redirect_is_restricted_too(boss, services, monkeypatch, status, verb, path, given):
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr(services.accounts, "everyone", lambda **_: 1 / 0)
    monkeypatch.setattr(services.reports, "visible", away)
    answer = boss.flask_client.open(path, method=verb, **given)
    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    for name, value in BOUND.items():
        assert answer.headers[name] == value
    assert inline(answer.get_data(as_text=True)) == []
    if path.startswith("/admin"):
        assert answer.headers["Cache-Control"] == "private, no-store"


@pytest.mark.settings(trusted_hosts=("tally.example",))
@pytest.mark.parametrize("path", ["/", "/admin/", "/admin/sign-in", "/static/style.css"])
def test_a_request_for_another_host_gets_a_restricted_response(visitor, path):
    answer = visitor.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert {name: answer.headers[name] for name in BOUND} == BOUND


@pytest.mark.parametrize("path", ["/admin", "/admin//events", "/docs"])
def test_a_corrected_path_leads_to_this_host_whatever_the_request_names(visitor, path):
    answer = visitor.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 308
    assert answer.headers["Location"].startswith("/")
    assert "evil.example" not in answer.headers["Location"] + answer.get_data(as_text=True)


def test_links_to_files_are_not_cached(admin, nobody):
    nobody.send(event())
    job, _ = admin.run_report()
    for accept in ("application/json", "text/csv"):
        answer = admin.get(f"/reports/{job['source']}", headers={"Accept": accept})
        assert answer.headers["Cache-Control"] == "no-store"
