"""Looking at a page as it must be for everybody: in both themes, on any screen, for whoever cannot see it."""

from __future__ import annotations

import contextlib

from axe_playwright_python.base import AXE_SCRIPT
from flask import Flask
from playwright.sync_api import Page
from werkzeug.exceptions import HTTPException

from app.admin.blueprint import blueprint

WIDE, WIDTHS, PHONE = 1280, (1920, 1024, 768, 390), 390  # the last is where axe runs again, in the other theme
HEIGHT = 844
FRAGMENTS = ("_part", "_chart")
FILES = {"admin.download", "admin.audit_file", "admin.export_catalog"}

AXE = """async () => {
  const options = { resultTypes: ["violations"], preload: false };
  const { violations } = await axe.run(document, options);
  return violations.map((one) => `${one.id}: ${one.nodes[0].html}`);
}"""


def pages_of_the_map() -> set[str]:
    """The endpoint of every page: what is answered to GET and is neither a fragment nor a file."""
    bare = Flask(__name__)
    bare.register_blueprint(blueprint)
    rules = [rule for rule in bare.url_map.iter_rules() if rule.endpoint.startswith("admin.") and "GET" in rule.methods]
    return {rule.endpoint for rule in rules if not rule.endpoint.endswith(FRAGMENTS)} - FILES


class Looker:
    """Looks at pages, and keeps what is wrong with them.

    Attributes:
        seen: the endpoints of the pages that it was shown.
    """

    def __init__(self) -> None:
        bare = Flask(__name__)
        bare.register_blueprint(blueprint)
        self._map = bare.url_map.bind("")
        self.seen: set[str] = set()

    def faults(self, page: Page, name: str) -> list[str]:
        """What is wrong with a page, which is left as it was."""
        self._note(page)
        page.emulate_media(reduced_motion="reduce")  # or a colour would be looked at on its way to the other theme's
        page.evaluate(AXE_SCRIPT)
        found = [f"light: {fault}" for fault in page.evaluate(AXE)]
        page.emulate_media(color_scheme="dark")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{width} px: scrolls sideways")
        found += [f"dark, {PHONE} px: {fault}" for fault in page.evaluate(AXE)]
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": WIDE, "height": HEIGHT})
        return [f"{name}, {fault}" for fault in found]

    def _note(self, page: Page) -> None:
        path = "/" + page.url.partition("://")[2].partition("/")[2].partition("?")[0]
        with contextlib.suppress(HTTPException):  # there may be nothing at the address, and the page says so
            self.seen.add(self._map.match(path, "GET")[0])
