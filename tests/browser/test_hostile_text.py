"""Text that looks like a script, in a real browser: it runs on no page, and no page violates its own policy."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page
from werkzeug.serving import make_server

from tests.browser.conftest import sign_in
from tests.security.test_markup import hostile_columns
from tests.support.pace import times

# files are downloaded, and refreshed parts are not pages
NO_PAGES = ("/download", "/file", "/export", ".csv", "/part", "/chart", "/by/reason")
WATCH = """
addEventListener("securitypolicyviolation", (found) => console.error("policy: " + found.violatedDirective));
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.settings(public_url="http://tally.example"),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),  # the pages are the same on both databases
]


@pytest.fixture
def served(app) -> Iterator[tuple[str, list[str]]]:
    """Return the address of each page of a server whose data is full of hostile text."""
    _, addresses = hostile_columns(app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", [one for one in addresses if not one.endswith(NO_PAGES)]
    server.shutdown()
    thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def is_complaint(said: ConsoleMessage) -> bool:
    """Return whether a message means an error; a missing page under its old name is none."""
    return said.type in ("error", "warning") and not said.text.startswith("Failed to load resource")


def test_no_hostile_text_runs_and_no_page_violates_its_policy(served: tuple[str, list[str]], page: Page):
    url, addresses = served
    found, here = [], [""]
    page.add_init_script(WATCH)
    page.on("console", lambda said: found.append((here[0], said.text)) if is_complaint(said) else None)
    page.on("pageerror", lambda error: found.append((here[0], str(error))))
    page.on("dialog", lambda dialog: (found.append((here[0], dialog.message)), dialog.dismiss()))
    page.on("request", lambda one: None if one.url.startswith((url, "data:")) else found.append((here[0], one.url)))
    page.goto(f"{url}/admin/sign-in")
    sign_in(page, "admin")
    for here[0] in addresses[:: times(3, 1)]:  # test_markup.py checks each, test_every_page.py its policy
        page.goto(url + here[0])
        if page.locator("img, iframe, object, [onclick], [onerror], [style]").count():
            found.append((here[0], "an element or attribute that is not ours"))
    here[0] = "/docs/"
    page.goto(f"{url}/docs/")
    page.locator(".swagger-ui .opblock").first.wait_for()
    assert len(addresses) > 40
    assert found == []
