"""Every address that the service returns is below its base path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import urljoin, urlsplit

import pytest
from werkzeug.test import Client as Browser
from werkzeug.test import TestResponse

from app.config.values import OWN_PATHS
from tests.admin.conftest import TOKEN
from tests.conftest import PASSWORD
from tests.support.client import event
from tests.support.page import read

BASE = "/tally"
pytestmark = pytest.mark.settings(public_url=f"https://tally.example{BASE}/")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because addresses do not depend on the database."""
    return sqlite_url


@pytest.fixture(params=["strips", "keeps"])
def browser(request, app) -> Browser:
    """Return a client behind a proxy that strips the base path, or keeps it."""

    def strip(environ: dict, start: Callable) -> Iterable[bytes]:
        assert environ["PATH_INFO"].startswith(BASE), environ["PATH_INFO"]
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(BASE)
        return app.wsgi_app(environ, start)

    return Browser(strip if request.param == "strips" else app.wsgi_app)


@pytest.fixture
def boss(browser, admin) -> Browser:
    sign_in(browser, f"{BASE}/admin/sign-in")
    return browser


def sign_in(browser: Browser, form: str) -> TestResponse:
    token = TOKEN.search(browser.get(form).get_data(as_text=True))[1]
    return browser.post(form, data={"user": "admin", "password": PASSWORD, "csrf_token": token})


@pytest.mark.parametrize(
    ("next", "location"),
    [
        ("/tally/admin/events", "/admin/events"),
        ("//evil.example/admin/", "/admin/"),
        ("/tally//evil.example", "/admin/"),
    ],
)
def test_signing_in_redirects_only_below_the_base_path(browser, admin, next, location):
    assert sign_in(browser, f"{BASE}/admin/sign-in?next={next}").headers["Location"] == BASE + location


def test_signing_in_returns_to_the_page_and_limits_the_cookie_to_the_base_path(browser, admin):
    address = browser.get(f"{BASE}/admin/reports?state=failed").headers["Location"]
    assert address.startswith(f"{BASE}/admin/sign-in?")
    answer = sign_in(browser, address)
    assert answer.headers["Location"] == f"{BASE}/admin/reports?state=failed"
    assert "Path=/tally;" in answer.headers["Set-Cookie"]
    assert answer.headers["Set-Cookie"].startswith("__Secure-tally-")
    assert browser.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("", "/admin/"),
        ("/", "/admin/"),
        ("/admin", "/admin/"),
        ("/admin//events", "/admin/events"),
        ("/docs", "/docs/"),
    ],
)
def test_redirects_stay_below_the_base_path(boss, path, location):
    answer = boss.get(BASE + path)
    assert answer.status_code in (302, 308)
    assert answer.headers["Location"] == BASE + location


def test_every_address_on_every_page_exists_below_the_base_path(app, boss, admin):
    admin.send(event())
    admin.run_report()
    unvisited, visited = [f"{BASE}/admin/", f"{BASE}/admin/nothing"], set()
    while unvisited:
        address = unvisited.pop()
        answer = boss.get(address)
        assert answer.status_code in ((404,) if address.endswith("nothing") else (200, 302)), address
        assert answer.headers.get("Location", BASE).startswith(BASE)
        visited.add(re.sub(r"[0-9a-f-]{36}|\d+|\?.*", "", address))
        if answer.mimetype != "text/html":
            continue
        names = ("href", "src", "action", "data-live")
        for reference in (
            element[name] for element in read(answer) for name in names if (element[name] or "#")[0] != "#"
        ):
            target = urljoin(address, reference)
            assert urlsplit(target).netloc == "" and target.startswith(f"{BASE}/"), (address, reference)
            if not re.search(r"sign-out|/download|/sessions/|\.csv", target):
                shape = re.sub(r"[0-9a-f-]{36}|\d+|\?.*", "", target)
                if shape not in visited:
                    visited.add(shape)
                    unvisited += [target] if boss.get(target).status_code != 405 else []
    assert {f"{BASE}/docs/", f"{BASE}/static/live.js", f"{BASE}/admin/overview/part"} <= visited
    assert len(visited) > 40


def test_scripts_limit_their_cookies_to_the_base_path(boss):
    assert read(boss.get(f"{BASE}/admin/")).first("body")["data-path"] == f"{BASE}/admin"


def test_a_link_to_a_report_s_file_includes_the_base_path(browser, admin):
    admin.send(event())
    source = admin.start_report()["source"]
    admin.app.extensions["services"].runner.run(source.removeprefix("JOB-"))
    link = admin.get(f"/reports/{source}", headers={"Accept": "application/json"}).get_json()["link"]
    assert link.startswith(f"https://tally.example{BASE}/files/")
    assert browser.get(link.removeprefix("https://tally.example")).status_code == 200


def test_the_openapi_document_has_the_base_path(browser, admin):
    assert browser.get(f"{BASE}/openapi.json").get_json()["servers"] == [{"url": BASE}]
    assert f'"{BASE}/openapi.json"' in browser.get(f"{BASE}/docs/").get_data(as_text=True)
    assert browser.get(f"{BASE}/system/version").status_code == 200


def test_the_reserved_paths_match_the_routes(app):
    own = {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()} - {""}
    assert own == set(OWN_PATHS)
