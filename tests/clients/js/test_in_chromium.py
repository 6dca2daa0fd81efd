"""Pages of another origin in a real Chromium, against the service: each event is stored exactly once."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route
from playwright.sync_api import Error as PlaywrightError

from tests.faults.conftest import Service, starting
from tests.support.running import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.processes]

HTML = """<!doctype html><title>Shop</title><script type="module">
import { Tally } from "%s/tally.js";
window.told = [];
window.tally = new Tally({ url: "%s", batchSeconds: 0.05, onError: (...one) => told.push(one) });
window.number = (...all) => Promise.all(all.map((one) => tally.record("C", "P", "T", one)));
</script>"""
SECONDS = 15  # until an event has arrived
NO_LOCKS = "delete Navigator.prototype.locks"
NO_DATABASE = "delete window.indexedDB; Object.defineProperty(window, 'indexedDB', { value: undefined })"
NO_KEEPALIVE = "delete Request.prototype.keepalive"

Open = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def running(short_folder) -> Iterator[Service]:
    with starting(short_folder) as start:
        yield start("sqlite")


@pytest.fixture
def service(running: Service) -> Service:
    running.last = max((key for key, _ in events(running)), default=0)
    return running


def events(service: Service) -> list[tuple[int, str]]:
    """Return the id and the first context item of each stored event."""
    with contextlib.closing(sqlite3.connect(service.database)) as connection:
        return connection.execute("SELECT id, json_extract(context, '$[0]') FROM event").fetchall()


@pytest.fixture(scope="module")
def shop(running: Service) -> Iterator[str]:
    """The address of a page with the client, on a server of its own, because Chromium protects loopback addresses."""
    page = (HTML % (running.running.url, running.running.url)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def open_browser(browser: Browser, shop: str) -> Iterator[Open]:
    """A function that opens a profile of the browser, in which / is the page of the shop."""
    with contextlib.ExitStack() as stack:

        def open_browser(*scripts: str) -> BrowserContext:
            context = browser.new_context(base_url=shop)
            stack.callback(context.close)
            for script in scripts:
                context.add_init_script(script)
            return context

        yield open_browser


def visit(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/")
    page.wait_for_function("window.tally")
    return page


def stored(service: Service) -> list[int]:
    """Return the numbers that this test has recorded and the service has stored."""
    return [int(number) for key, number in events(service) if key > service.last]


def until_stored(service: Service, *numbers: int) -> None:
    """Wait until events are stored, and check that each is so once."""
    wait_until(lambda: {*stored(service)} >= {*numbers}, SECONDS)
    assert Counter(stored(service)) == Counter(numbers)


def crash(page: Page) -> None:
    """End the process of a tab, which gets no notice of it."""
    with contextlib.suppress(PlaywrightError), page.expect_event("crash"):
        page.goto("chrome://crash", timeout=5000)
    page.close()


def test_a_minute_offline_delays_events_and_loses_none(service: Service, open_browser: Open):
    context = open_browser()
    page = context.new_page()
    page.clock.install()
    page.goto("/")
    page.wait_for_function("window.tally")
    page.evaluate("number(1)")
    page.clock.run_for(100)
    until_stored(service, 1)
    context.set_offline(True)
    for second in range(60):
        page.evaluate(f"number({second + 100})")
        page.clock.run_for(1000)
    assert page.evaluate("tally.stats.failures") > 0
    assert stored(service) == [1]
    context.set_offline(False)
    page.clock.run_for(1000)
    until_stored(service, 1, *range(100, 160))
    page.wait_for_function("tally.stats.sent == 61")
    assert page.evaluate("Math.abs(tally.stats.skew) < 90e3 && tally.stats.dropped == 0")


def test_a_tab_that_is_killed_leaves_its_events_to_the_next_one(service: Service, open_browser: Open):
    context = open_browser()
    page = visit(context)
    context.set_offline(True)
    page.evaluate("number(1, 2)")
    page.wait_for_function("tally.stats.failures")
    page.evaluate("number(3)")
    crash(page)
    context.set_offline(False)
    later = visit(context)
    later.evaluate("number(4)")
    until_stored(service, 1, 2, 4)  # whether the owner of 3 has ended is unknown for 10 seconds
    context.add_init_script("const now = Date.now; Date.now = () => now() + 20e3")
    visit(context)
    until_stored(service, 1, 2, 3, 4)


def test_a_lost_answer_and_a_killed_service_store_each_event_once(service: Service, open_browser: Open):
    context = open_browser()
    page = visit(context)
    keys = []

    def lose_answer(route: Route) -> None:
        if route.request.method == "POST":
            keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()
            route.abort()
        else:
            route.fallback()

    context.route("**/events", lose_answer)
    page.evaluate("number(1)")
    page.wait_for_function("tally.stats.sent == 1")
    assert len({*keys}) == 1 < len(keys)
    service.kill_all()
    page.evaluate("number(2, 3)")
    page.wait_for_function("tally.stats.failures > 1")
    service._options |= {"PORT": str(service.running.port), "PUBLIC_URL": service.running.url}
    service.start_again()
    page.evaluate("number(4)")
    page.wait_for_function("tally.flush().then(() => tally.stats.sent == 4)", timeout=SECONDS * 1000)
    until_stored(service, 1, 2, 3, 4)


@pytest.mark.parametrize("scripts", [[], [NO_LOCKS]], ids=["locks", "lease"])
def test_tabs_share_a_queue_and_send_nothing_twice(service: Service, open_browser: Open, scripts):
    context = open_browser(*scripts)
    keys = []
    context.on("request", lambda one: keys.append(one.headers.get("idempotency-key")) if one.method == "POST" else None)
    pages = [visit(context) for _ in range(3)]
    for place, page in enumerate(pages):
        page.evaluate(f"for (let one = 0; one < 40; one++) setTimeout(() => number({place * 100} + one), one * 5)")
    until_stored(service, *(place * 100 + one for place in range(3) for one in range(40)))
    wait_until(lambda: pages[0].evaluate("tally.flush()"), SECONDS)
    assert len({*keys}) == len(keys)


@pytest.mark.parametrize("scripts", [[], [NO_DATABASE], [NO_KEEPALIVE]], ids=["keepalive", "localStorage", "beacon"])
def test_events_recorded_as_the_page_ends_arrive(service: Service, open_browser: Open, scripts):
    context = open_browser(*scripts)
    page = visit(context)
    page.evaluate("number(1)")
    page.evaluate(
        "addEventListener('pagehide', () => number(3), { capture: true }), number(2), location.href = 'about:blank'"
    )
    wait_until(lambda: 3 in stored(service), SECONDS)
    page = visit(context)
    wait_until(lambda: page.evaluate("tally.flush()"), SECONDS)
    until_stored(service, 1, 2, 3)


def test_without_a_database_a_full_local_storage_drops_the_oldest_and_counts(service: Service, open_browser: Open):
    context = open_browser(NO_DATABASE)
    page = visit(context)
    context.set_offline(True)
    page.evaluate("localStorage.other = 'x'.repeat(5 * 1024 * 1024 - 100_000)")
    dropped = page.evaluate("""async () => {
        for (let one = 0; one < 200; one++) await tally.record("C", "P", "T", one, "x".repeat(1000));
        const dropped = told.filter(([message]) => message.includes("dropped"));
        return dropped.flatMap(([, events]) => events.map((event) => event.context[0]));
    }""")
    assert 50 < len(dropped) < 200
    assert dropped == list(range(len(dropped)))
    context.set_offline(False)
    wait_until(lambda: page.evaluate("tally.flush()"), SECONDS)
    until_stored(service, *range(len(dropped), 200))
    assert page.evaluate("tally.stats.dropped") == len(dropped)
    assert (
        json.loads(page.evaluate("JSON.stringify(Object.keys(localStorage).filter((name) => /~|-/.test(name)))")) == []
    )
