"""Takes pictures of every page of the dashboard, light and dark, wide and narrow. The docs show a few of them.

    python -m bench.screenshots [--only WORD] [--folder bench/out/screenshots]

Pages are found by their links. The command fails if no link leads to a page and no line below does, so that a new page
cannot be forgotten. STATES lists further states of pages.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from pyotp import TOTP
from werkzeug.routing import Map, Rule

from bench.dashboard_client import Visitor
from bench.report import progress, say
from bench.screenshot_data import Scene, scene
from bench.servers import ROOT, BenchFailed, interruptible, workspace
from bench.service import PASSWORD

FOLDER = ROOT / "bench" / "out" / "screenshots"
WIDTHS = {1280: (800, 1600), 390: (844, 2000)}  # pixels: the least and the greatest height of a picture
ALIKE = 6  # pages of a kind whose links are followed
THEMES = ("light", "dark")
COLORS = 128  # colours of a picture, which is enough for text on few backgrounds
# the last three keep Chromium from contacting hosts on its own
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# GET routes that are no pages: parts of pages, and files
FILES = ("/download", "/catalog/export", ".csv", "/file")
WITHOUT_LINK = ("admin.sign_in", "admin.kept_form", "admin.confirm_unsubscribe")
# pages to which no link of the admin leads; STATES have them
SECOND_FACTOR = ("/sign-in/code", "/second-factor/codes", "/second-factor/off", "/people/<int:key>/second-factor")
RECEIPT = "/receipts/<int:key>"  # the audit log may show its link only further back; STATES have it
NO_PAGES = ("/codes", "/part", "/chart", "/by/reason", *FILES, *SECOND_FACTOR, RECEIPT)


@dataclass(frozen=True)
class Shot:
    """A picture to take.

    Attributes:
        name: of the file, without theme, width and suffix.
        who: the user who signs in, or None.
        act: what is done on the page before.
    """

    name: str
    address: str
    who: str | None = "admin"
    act: Callable[[Page], object] | None = None


def _press(button: str, **filled: str) -> Callable[[Page], object]:
    """Fill in fields by their ids, and send the form."""

    def act(page: Page) -> None:
        for field, value in filled.items():
            page.locator(f"#{field}").fill(value)
        with page.expect_navigation():
            page.get_by_role("button", name=button).click()

    return act


def _send_late(page: Page) -> None:
    """Send the form of a new report after the session has ended."""
    page.context.clear_cookies()
    _press("Start report", name="Positions of November")(page)


def _sign_in_after_sending_late(page: Page) -> None:
    """Do the same on a page that asks to sign in first, because its session has ended, and sign in again."""
    sign_in = _press("Sign in", user="admin", password=PASSWORD)
    sign_in(page)
    _send_late(page)
    sign_in(page)


def _search(page: Page) -> None:
    """Search for a customer, and choose the second one that is offered, but do not take it."""
    field = page.get_by_role("combobox", name="Add a customer")
    field.press_sequentially("R")
    page.get_by_role("listbox").get_by_role("option").first.wait_for()
    for _ in range(2):
        field.press("ArrowDown")


def _then(*acts: Callable[[Page], object]) -> Callable[[Page], object]:
    def act(page: Page) -> None:
        for one in acts:
            one(page)

    return act


def _open(*words: str) -> Callable[[Page], object]:
    def act(page: Page) -> None:
        for word in words:
            page.get_by_text(word).first.click()

    return act


def _turn_on(page: Page) -> None:
    """Turn on the second factor of the signed-in user."""
    phone = TOTP(page.locator("#secret").inner_text().replace(" ", ""))
    _press("Turn on", code=phone.now(), password=PASSWORD)(page)


def _follow(*links: str) -> Callable[[Page], object]:
    def act(page: Page) -> None:
        for link in links:
            page.get_by_role("link", name=link).click()
            page.wait_for_load_state()

    return act


def _cut_off(page: Page) -> None:
    """Make the server unreachable."""
    page.route("**/admin/**", lambda route: route.abort())
    page.locator(".is-stale").first.wait_for(timeout=30_000)


FIRST_RUN = (
    Shot("overview-first-run", "/admin/"),
    Shot("events-first-run", "/admin/events"),
    Shot("reports-first-run", "/admin/reports"),
    Shot("rejected-first-run", "/admin/rejected"),
)


def _states(played: Scene) -> Iterator[Shot]:
    """Pages without links."""
    yield Shot("sign-in", "/admin/sign-in", None)
    yield Shot("sign-in-wrong", "/admin/sign-in", None, _press("Sign in", user="anna", password="no idea"))
    typed = "/admin/reports/new?customer=BARCHART&product=PORTFOLIO"
    yield Shot("sign-in-kept-form", typed, act=_send_late)
    yield Shot("kept-form", typed, act=_sign_in_after_sending_late)
    yield Shot("people-new-search", "/admin/people/new", act=_search)
    yield Shot("overview-by-type", "/admin/?range=30d&by=type", act=_open("Show as table"))
    yield Shot("overview-hour", "/admin/?range=1h")
    yield Shot("overview-analyst", "/admin/", "anna")
    yield Shot("overview-unreachable", "/admin/", act=_cut_off)
    unfolded = _open("Change the filter", "Event types:")
    yield Shot("events-search", "/admin/events?product=PORTFOLIO&text=SAP", act=unfolded)
    yield Shot("events-none", "/admin/events?customer=FERNHILL&text=nowhere")
    found = _press("Find", value=played.person)
    yield Shot("events-personal-data-found", "/admin/events/personal-data", act=found)
    asked = _then(found, _press("Erase…"))
    yield Shot("events-personal-data-question", "/admin/events/personal-data", act=asked)
    yield Shot("events-personal-data-none", "/admin/events/personal-data", act=_press("Find", value="nobody"))
    yield Shot("events-personal-data-receipt", played.erasure)
    yield Shot("explore-item", "/admin/explore?by=context:userId&range=30d")
    yield Shot("rejected-filter", "/admin/rejected?customer=BARCHART&reason=timestamp-wrong&text=portfolio")
    yield Shot("rejected-filter-wrong", "/admin/rejected/by/event?start=soon&reason=colour")
    yield Shot("reports-legend", "/admin/reports", act=_open("What the icons mean"))
    yield Shot("system-legend", "/admin/system", act=_open("What the icons mean"))
    yield Shot("explore-wrong", "/admin/explore?by=colour&start=soon")
    yield Shot("events-views", "/admin/events?customer=BARCHART&range=7d", act=_open("Saved views"))
    yield Shot(
        "me-views-new-wrong", "/admin/me/views/new?page=events&query=product%3DPORTFOLIO", act=_press("Save", name=" ")
    )
    yield Shot("events-wrong", "/admin/events?start=soon")
    yield Shot("system-details", "/admin/system", act=_open("of 2 busy", "Queue, charts and mail", "how long data"))
    for name, state in REPORTS.items():
        yield Shot(f"reports-one-{name}", f"/admin/reports/{played.report(**state)}")
    faulty = _press("Start report", delimiter="||", types="NO SUCH TYPE")
    yield Shot("reports-new-wrong", "/admin/reports/new", act=faulty)
    yield Shot("reports-new-preview", "/admin/reports/new?customer=BARCHART&product=PORTFOLIO")
    yield Shot("reports-webhooks-one-secret-new", played.secret, act=_press("Create a new secret"))
    yield Shot("unsubscribe", played.unsubscribe, None)
    yield Shot("unsubscribe-done", played.unsubscribe, None, _press("Unsubscribe"))
    yield Shot("keys-new-made", "/admin/keys/new", act=_press("Add key", name="research app"))
    yield Shot("tokens-new-made", "/admin/me/tokens/new", act=_press("Add token", name="notebook"))
    yield Shot("me-second-factor-wrong", "/admin/me/second-factor", "mira", _press("Turn on", code="1", password="no"))
    yield Shot("me-second-factor-made", "/admin/me/second-factor", "mira", _turn_on)
    yield Shot("me-second-factor-on", "/admin/me", "mira")
    yield Shot("me-second-factor-codes", "/admin/me/second-factor/codes", "mira")
    yield Shot("me-second-factor-off", "/admin/me/second-factor/off", "mira")
    yield Shot("people-one-second-factor-on", "/admin/people", act=_follow("mira"))
    yield Shot("people-one-second-factor", "/admin/people", act=_follow("mira", "Reset second factor"))
    asked = _press("Sign in", user="mira", password=PASSWORD)
    yield Shot("sign-in-second-factor", "/admin/sign-in", None, asked)
    yield Shot("sign-in-second-factor-wrong", "/admin/sign-in/code", None, _press("Sign in", code="1"))
    yield Shot("sign-in-second-factor-recovery", "/admin/sign-in/code?use=recovery-code", None)
    yield Shot("people-new-made", "/admin/people/new", act=_press("Add", name="dora"))
    yield Shot("forbidden", "/admin/people", "anna")
    yield Shot("not-found", "/admin/reports/JOB-00000000-0000-0000-0000-000000000000")


REPORTS = {
    "running": {"status": "RUNNING", "token": "held"},
    "queued": {"status": "RUNNING", "token": None},
    "failed": {"status": "FAILED", "cancelled": False},
    "timed-out": {"status": "TIMEOUT"},
    "cancelled": {"cancelled": True},
    "expired": {"status": "COMPLETE", "account_name": "anna", "product": "WATCHLIST"},
}
TROUBLE = (Shot("overview-trouble", "/admin/"), Shot("system-trouble", "/admin/system"))


def _pages(rules: Map, visitor: Visitor) -> Iterator[Shot]:
    """Return every page that links lead to.

    Raises:
        BenchFailed: some page is not among them.
    """
    found: dict[str, str] = {}
    for rule, address in visitor.find(rules, "/admin/", each=ALIKE, but=FILES):
        found.setdefault(rule, address)
    missed = {rule.rule for rule in pages_of(rules)} - set(found)
    if missed:
        raise BenchFailed(f"No link leads to {', '.join(sorted(missed))}. Let the scene have what it shows.")
    for rule in pages_of(rules):
        yield Shot(name_of(rule.rule), found[rule.rule])


def pages_of(rules: Map) -> list[Rule]:
    """Return the rules of pages for signed-in users."""
    pages = [rule for rule in rules.iter_rules() if rule.endpoint.startswith("admin.") and "GET" in rule.methods]
    return [rule for rule in pages if not rule.rule.endswith(NO_PAGES) and rule.endpoint not in WITHOUT_LINK]


def name_of(rule: str) -> str:
    """Return the name of a page from its rule: reports-one for /admin/reports/<source>."""
    words = rule.removeprefix("/admin").strip("/").split("/")
    return "-".join("one" if word.startswith("<") else word for word in words) or "overview"


class Camera:
    """Takes pictures of a service's pages into a folder."""

    def __init__(self, browser: Browser, url: str, folder: Path, only: str) -> None:
        self._browser, self._url, self._folder, self._only = browser, url, folder, only
        self._pages: dict[str | None, Page] = {}
        self.taken = 0

    def at(self, url: str) -> Camera:
        """Return a camera for another service."""
        return Camera(self._browser, url, self._folder, self._only)

    def take(self, shot: Shot) -> None:
        """Take the four pictures of a page."""
        if self._only not in shot.name:
            return
        progress(f"{shot.name}, {self.taken} pictures so far")
        page = self._page(shot.who)
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{self._url}{shot.address}")
        if shot.act:
            shot.act(page)
        for width, heights in WIDTHS.items():
            _fit(page, width, *heights)
            for theme in THEMES:
                self._write(page, shot, theme, width)
        page.unroute_all()

    def _write(self, page: Page, shot: Shot, theme: str, width: int) -> None:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.wait_for_timeout(60)  # a frame or two in the new colours
        picture = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
        _reduced(picture).save(self._folder / f"{shot.name}-{theme}-{width}.png", optimize=True)
        self.taken += 1

    def _page(self, who: str | None) -> Page:
        if who not in self._pages:
            page = self._browser.new_context().new_page()
            if who:
                page.goto(f"{self._url}/admin/sign-in")
                _press("Sign in", user=who, password=PASSWORD)(page)
            self._pages[who] = page
        return self._pages[who]


def _reduced(picture: Image.Image) -> Image.Image:
    """Reduce a picture to a palette: half of it its most frequent colours, which stay exact, and half the best for
    the rest.
    """
    frequent = sorted(picture.getcolors(picture.width * picture.height), reverse=True)[: COLORS // 2]
    covering = picture.quantize(COLORS // 2, method=Image.Quantize.MAXCOVERAGE).getpalette()[: 3 * (COLORS // 2)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for _, color in frequent for level in color] + covering)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _fit(page: Page, width: int, least: int, most: int) -> None:
    """Return the height of the page, within limits."""
    page.set_viewport_size({"width": width, "height": least})
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(height, least), most)})


def photograph(folder: Path, only: str = "") -> int:
    """Take every picture whose name contains `only`, and return their number.

    Without it, pictures of former pages are deleted.
    """
    with interruptible(), ExitStack() as opened:
        made = Path(opened.enter_context(workspace()))
        (made / "service").mkdir()
        (made / "pictures").mkdir()
        progress("Starting a service")
        played = opened.enter_context(scene(made / "service"))
        browser = opened.enter_context(sync_playwright()).chromium.launch(executable_path=_chromium(), args=FLAGS)
        opened.callback(browser.close)
        camera = Camera(browser, played.url, made / "pictures", only)
        _take_all(camera, played)
        taken = len([*(made / "pictures").iterdir()])
        _replace(made / "pictures", folder, everything=not only)
    return taken


def _take_all(camera: Camera, played: Scene) -> None:
    for shot in FIRST_RUN:
        camera.take(shot)
    progress("Having everything happen that pages tell of")
    played.play()
    played.go_on()
    visitor = Visitor(played.port)
    visitor.sign_in()
    for shot in [*_pages(played.rules, visitor), *_states(played)]:
        played.go_on()
        camera.take(shot)
    with played.in_trouble():
        for shot in TROUBLE:
            camera.take(shot)
    for name, is_only in (("sign-in-single-sign-on", False), ("sign-in-single-sign-on-only", True)):
        with played.with_single_sign_on(oidc_only=is_only) as url:
            camera.at(url).take(Shot(name, "/admin/sign-in", None))


def _replace(pictures: Path, folder: Path, *, everything: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if everything:
        for old in folder.glob("*.png"):
            old.unlink()
    for picture in pictures.glob("*.png"):
        shutil.copyfile(picture, folder / picture.name)


def _chromium() -> str | None:
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots", description="Photograph every page.")
    parser.add_argument("--only", default="", help="a part of the names of the pictures to be taken")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where they go (default: {FOLDER})")
    arguments = parser.parse_args()
    try:
        taken = photograph(arguments.folder, arguments.only)
    except BenchFailed as error:
        sys.exit(f"\n{error}")
    progress()
    size = sum(one.stat().st_size for one in arguments.folder.glob("*.png"))
    say(f"{taken} pictures, {size / 1e6:.1f} MB in {arguments.folder}.")


if __name__ == "__main__":
    main()
