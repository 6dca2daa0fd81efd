"""Checks that a page works for everybody: in both themes, at any width, and for screen readers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

from axe_playwright_python.base import AXE_SCRIPT
from flask import Flask
from playwright.sync_api import Page
from werkzeug.exceptions import HTTPException

from app.admin.blueprint import blueprint
from tests.support.pace import SOAK

WIDE, WIDTHS, PHONE = 1280, (1920, 1024, 768, 390), 390
HEIGHT = 844
LOOKS = (("light", WIDE), ("dark", PHONE))  # in which axe checks a page
FRAGMENTS = ("_part", "_chart")
FILES = {"admin.codes", "admin.download", "admin.audit_file", "admin.download_events", "admin.export_catalog"}
FILES |= {"admin.erasure_receipt_file"}
FILES |= {
    "admin.begin_at_provider",
    "admin.return_from_provider",
    "admin.frontchannel_logout",
}  # without a provider, 404

AXE = """async () => {
  const options = { resultTypes: ["violations"], preload: false };
  const { violations } = await axe.run(document, options);
  return violations.map((one) => `${one.id}: ${one.nodes[0].html}`);
}"""

# A control is cut off if it is narrower than its content, unless its content may be of any length.
LAYOUT = """() => {
  const found = [], phone = innerWidth < 768, scrolled = ".numbers-scroll, .sample, .visually-hidden, .inline";
  const visible = (selector) => [...document.querySelectorAll(selector)].filter((one) =>
    one.offsetWidth > 1 && one.checkVisibility({ visibilityProperty: true }) && !one.closest(scrolled));
  const tell = (what, one) => found.push(`${what}: ${one.id || one.textContent.trim().slice(0, 40)}`);
  if (document.documentElement.scrollWidth > innerWidth) found.push("scrolls sideways");
  for (const one of visible('[type="datetime-local"], [type="number"]')) {
    const width = one.offsetWidth;
    one.style.setProperty("width", "max-content", "important");
    if (one.offsetWidth > width + 1) tell("cut off", one);
    one.style.removeProperty("width");
  }
  for (const one of visible("button, .btn, .tabs a, .places a, summary, label, legend, h1, h2, dt")) {
    const { left, right } = one.getBoundingClientRect();
    if (left < -1 || right > innerWidth + 1) tell("out of the window", one);
    if (one.clientWidth && one.scrollWidth > one.clientWidth + 1) tell("cut off", one);
  }
  for (const one of phone ? visible(".places a, .who a, .who button, .filters > details > summary, .btn") : [])
    if (one.offsetHeight < 44) tell("too small to touch", one);
  return found;
}"""


def axe_errors(page: Page) -> list[str]:
    """Return what axe finds on a page, whose context may have its script."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    errors: list[str] = page.evaluate(AXE)
    return errors


def layout_errors(page: Page, width: int) -> list[str]:
    """Return what of a page is cut off or too small to touch at a width."""
    resize(page, width)
    errors: list[str] = page.evaluate(LAYOUT)
    return errors


def resize(page: Page, width: int) -> None:
    """Give a page a width, unless it has it, because that costs as much as half of a check."""
    if page.viewport_size != (size := {"width": width, "height": HEIGHT}):
        page.set_viewport_size(size)


def pages_of_the_map() -> set[str]:
    """Return the endpoint of every page: each GET route that is neither a fragment nor a file."""
    bare = Flask(__name__)
    bare.register_blueprint(blueprint)
    rules = [rule for rule in bare.url_map.iter_rules() if rule.endpoint.startswith("admin.") and "GET" in rule.methods]
    return {rule.endpoint for rule in rules if not rule.endpoint.endswith(FRAGMENTS)} - FILES


class PageChecker:
    """Checks pages.

    Attributes:
        seen: the endpoints of the checked pages.
    """

    def __init__(self) -> None:
        bare = Flask(__name__)
        bare.register_blueprint(blueprint)
        self._map = bare.url_map.bind("")
        self._turns = itertools.count()
        self.seen: set[str] = set()

    def field_errors(self, page: Page, name: str) -> list[str]:
        """Return the errors of a page that has axe's script and is light; it stays so, on a wide screen."""
        looks, widths = self._turn()
        self._note(page)
        found = []
        for theme, width in looks:
            resize(page, width)
            if theme == "dark":
                page.emulate_media(color_scheme="dark")
            found += [f"{theme}, {width} px: {fault}" for fault in axe_errors(page)]
            if theme == "dark":
                page.emulate_media(color_scheme="light")
        for width in widths:
            found += [f"{width} px: {error}" for error in layout_errors(page, width)]
        resize(page, WIDE)
        return [f"{name}, {fault}" for fault in found]

    def _turn(self) -> tuple[Sequence[tuple[str, int]], Sequence[int]]:
        """Return the themes and widths for the next page: pages take turns, or each gets all of them with SOAK=1."""
        if SOAK:
            return LOOKS, WIDTHS
        turn = next(self._turns)
        wide = WIDTHS[turn // 2 % (len(WIDTHS) - 1)]
        return LOOKS[turn % 2 :][:1], (PHONE, wide)[: 2 - turn % 2]  # a phone has the least space

    def _note(self, page: Page) -> None:
        path = "/" + page.url.partition("://")[2].partition("/")[2].partition("?")[0]
        with contextlib.suppress(HTTPException):  # the page may report that nothing is at its address
            self.seen.add(self._map.match(path, "GET")[0])
