"""No page breaks: with names of 128 characters, from right to left, with 300 products, and when there is trouble.

The application runs in the process of the test, because only so can every column have such a text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import orjson
import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from app.exceptions import RateLimited, StoreUnavailable
from tests.browser.conftest import sign_in
from tests.browser.page_checks import errors, turns
from tests.security.test_markup import hostile_columns
from tests.security.world import World
from tests.support.pace import SOAK, times

NO_PAGES = ("/download", "/file", "/export", ".csv", "/part", "/chart", "/by/reason")
WIDE, PHONE = 1280, 390
PRODUCTS = 300
UNFOLD = "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"
HEBREW = "אבגדהוזחטיכלמנסעפצקרשת"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.settings(public_url="http://tally.example"),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),  # the pages are the same on both databases
]


@pytest.fixture
def serve(app) -> Iterator[Callable[[], str]]:
    """Return a function that serves the application and returns its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    yield context.new_page()
    context.close()


def long_name(mark: str) -> str:
    """Return a name of 128 characters from right to left, without a place to break."""
    return (mark + HEBREW * 6)[:128]


def test_no_page_breaks_with_long_names_from_right_to_left(app, serve: str, page: Page):
    _, addresses = hostile_columns(app, long_name)
    codes = [long_name(f"{number:03}") for number in range(PRODUCTS)]
    document = {"products": [{"code": one, "description": one * 4, "columns": [one]} for one in codes]}
    document |= {"customers": [{"code": one, "description": one} for one in codes]}
    document |= {"types": [{"code": one, "product": one, "description": one, "context": [one]} for one in codes]}
    app.extensions["services"].catalog.put(orjson.dumps(document))
    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "admin")
    found = []
    pages = [one for one in addresses if not one.partition("?")[0].endswith(NO_PAGES)]
    filter = f"customer={codes[0]}&product={codes[1]}&context={codes[2]}&value={codes[3]}&text={codes[4]}"
    pages += [f"/admin/events?{filter}", "/admin/catalog/types", "/admin/catalog/customers", "/admin/explore?by=type"]
    pages = pages[:: times(2, 1)]  # test_every_page.py has each with long names
    for address, looks in zip(pages, turns(), strict=False):
        page.goto(serve + address)
        page.evaluate(UNFOLD)
        found += [f"{address}: {error}" for error in errors(page, looks, axe=SOAK)]
    assert len(pages) > times(30, 60)
    assert found == []


def test_a_tables_head_stays_in_view(app, serve: str, page: Page):
    World(app)
    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "admin")
    page.set_viewport_size({"width": WIDE, "height": 400})
    page.goto(f"{serve}/admin/system/settings")
    page.evaluate("scrollTo({ top: 700, behavior: 'instant' })")
    assert page.evaluate("document.querySelector('.rows th').getBoundingClientRect().top") == 0


def test_the_zone_switch_is_only_where_times_are_and_the_phones_bar_has_words(app, serve: str, page: Page):
    World(app)
    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "admin")
    for path, has_times in (("events", True), ("audit", True), ("system/settings", False), ("keys/new", False)):
        page.goto(f"{serve}/admin/{path}")
        expect(page.locator(".zones")).to_be_visible(visible=has_times)
    page.set_viewport_size({"width": PHONE, "height": 844})
    words = page.locator(".places a span")
    assert words.count() == page.locator(".places a").count() > 5
    for word in words.all():
        expect(word).to_be_in_viewport()
    box = page.locator(".places a span").first.bounding_box()
    assert box["width"] > 20, "a word, not only an icon"


def test_the_page_system_begins_with_what_matters(app, serve: str, page: Page):
    World(app)
    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "admin")
    page.goto(f"{serve}/admin/system")
    assert page.locator("main h2").first.inner_text() == "Health"
    problems = page.locator(".health li.warning")
    assert 0 < problems.count() < page.locator(".health li").count(), "no worker runs here"
    expect(page.locator(".health li").first).to_have_class("warning")
    expect(page.get_by_text("No worker has been heard from lately.")).to_be_visible()
    for details in ("Workers", "Retention"):
        expect(page.locator("details.fold:not([open])", has_text=details)).to_be_visible()


@pytest.mark.settings(redis_url="unix:///nowhere/redis.sock?db=0")
def test_pages_of_trouble_are_whole(app, serve: str, page: Page, monkeypatch: pytest.MonkeyPatch):
    World(app)
    looks = turns()
    found: list[str] = []

    def visit(name: str, address: str, status: int, words: str) -> None:
        answer = page.goto(serve + address)
        assert answer is not None
        assert (answer.status, words in page.inner_text("main")) == (status, True), (name, page.inner_text("main"))
        found.extend(f"{name}: {error}" for error in errors(page, next(looks), axe=True))

    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "anna")
    visit("forbidden", "/admin/people", 403, "No access")
    visit("unknown", f"/admin/{long_name('x')}", 404, "Page not found")
    visit("no such report", "/admin/reports/JOB-00000000-0000-0000-0000-000000000000", 404, "not")
    page.context.clear_cookies()
    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "admin")
    for address in ("/admin/", "/admin/system"):
        visit("without Redis", address, 200, "Redis cannot be reached")
    views = app.view_functions
    for error, status, words in (
        (StoreUnavailable("The database cannot be reached."), 503, "Temporarily unavailable"),
        (RuntimeError("of the test"), 500, "Internal error"),
    ):
        monkeypatch.setitem(views, "admin.reports", _raiser(error))
        visit(words, "/admin/reports", status, words)
    page.context.clear_cookies()
    throttled = RateLimited("Too many wrong passwords came from your address. Try again in 10 seconds.", 10)
    monkeypatch.setattr(app.extensions["services"].login, "authenticate", _raiser(throttled))
    page.goto(f"{serve}/admin/sign-in")
    sign_in(page, "olga")
    assert "Too many wrong passwords" in page.inner_text("main")
    found.extend(f"throttled: {error}" for error in errors(page, next(looks), axe=True))
    assert found == []


def _raiser(error: Exception) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail
