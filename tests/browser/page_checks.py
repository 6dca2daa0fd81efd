"""Checks that a page works for everybody: in both themes, at any width, and for screen readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from flask import Flask
from playwright.sync_api import Page

from app.admin.blueprint import blueprint
from tests.support.pace import SOAK

HEIGHT = 844
Look = tuple[Literal["light", "dark"], int]  # theme and width
LOOKS: Sequence[Look] = (
    ("light", 1280),
    ("dark", 390),
    ("light", 1920),
    ("dark", 768),
    ("light", 390),
    ("dark", 1024),
)
TURN = 4  # pages in a row with the same look, because to change it costs nearly as much as to open a page
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

# All questions before an act have the same template; those with fields of their own are kinds of their own.
KIND = """() => document.querySelector("main > .error") ? "error" :
  document.querySelector("main > .ask:not(:has(select, textarea, input:not([type=hidden])))") ? "question" : "" """

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
    """Return what axe finds on a page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    errors: list[str] = page.evaluate(AXE)
    return errors


def turns() -> Iterator[Sequence[Look]]:
    """Return in which looks to check each of many pages: in one of them in turn, or with SOAK=1 in all."""
    while True:
        for look in LOOKS:
            yield from [LOOKS if SOAK else (look,)] * TURN


def errors(page: Page, looks: Sequence[Look], *, axe: bool) -> list[str]:
    """Return what of a page is cut off or too small to touch, and what axe finds in the first two looks.

    The page keeps the last look.
    """
    found = []
    for number, (theme, width) in enumerate(looks):
        if page.viewport_size != (size := {"width": width, "height": HEIGHT}):
            page.set_viewport_size(size)
        page.emulate_media(color_scheme=theme)
        faults = page.evaluate(LAYOUT) + (axe_errors(page) if axe and number < 2 else [])
        found += [f"{theme}, {width} px: {fault}" for fault in faults]
    return found


def pages_of_the_map() -> set[str]:
    """Return the endpoint of every page: each GET route that is neither a fragment nor a file."""
    bare = Flask(__name__)
    bare.register_blueprint(blueprint)
    rules = [rule for rule in bare.url_map.iter_rules() if rule.endpoint.startswith("admin.") and "GET" in rule.methods]
    return {rule.endpoint for rule in rules if not rule.endpoint.endswith(FRAGMENTS)} - FILES


class PageChecker:
    """Checks pages in each of their states. axe checks the first state of each kind of page, or with SOAK=1 each state.

    A kind is the pages of an endpoint, the questions before an act, or the pages of errors.

    Attributes:
        seen: the endpoints of the checked pages.
    """

    def __init__(self) -> None:
        bare = Flask(__name__)
        bare.register_blueprint(blueprint)
        self._map = bare.url_map.bind("")
        self._turns = turns()
        self._kinds: set[str] = set()
        self.seen: set[str] = set()

    def field_errors(self, page: Page, name: str) -> list[str]:
        """Return the errors of a page in one of its states."""
        kind = page.evaluate(KIND)
        if kind != "error":
            path = urlsplit(page.url).path
            endpoint = self._map.match(path, "GET" if "GET" in self._map.allowed_methods(path) else "POST")[0]
            self.seen.add(endpoint)
            kind = kind or endpoint
        found = errors(page, next(self._turns), axe=SOAK or kind not in self._kinds)
        self._kinds.add(kind)
        return [f"{name}, {fault}" for fault in found]
