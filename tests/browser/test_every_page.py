"""Every page in each of its states is accessible, in both themes and at any width.

Each state is visited once, and laid out in one look, a theme and a width. The look changes after every few states, and
the tour clicks and types in it, so some forms are filled in on a phone. axe checks the first state of each kind of
page. `make soak` lays out each state in all looks, and axe checks each state on a wide screen in the light theme and on
a phone in the dark one. The URL map shows that no page was forgotten, and the fixture that opens the pages that none
has console errors or requests to other hosts.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from pyotp import TOTP

from tests.browser.conftest import PageOpener, Service, open_filter, sign_in, submit
from tests.browser.page_checks import PageChecker, pages_of_the_map
from tests.support.client import event
from tests.support.mail import MailServer
from tests.support.receivers import Receiver
from tests.support.running import wait_until

pytestmark = pytest.mark.browser

LONG = "A-CODE-OF-" + "X" * 118
NAME = "A name of many words that " + "X" * 62  # and 32 more characters
States = Iterator[tuple[str, Page]]


class PageTour:
    """Tour of all pages: each method yields the pages of one area in each of their states."""

    def __init__(
        self, service: Service, opener: PageOpener, webhook_receiver: Receiver, mail_receiver: MailServer
    ) -> None:
        self.service, self.opener = service, opener
        self.webhook_receiver, self.mail_receiver = webhook_receiver, mail_receiver
        self.page = opener.open(service)
        self.mark = uuid.uuid4().hex
        self._begin()

    def _begin(self) -> None:
        """Start what takes a while, so that it happens meanwhile: hourly counts, and a webhook that fails."""
        now = time.time_ns() // 1_000_000
        of_a_kind = [event(timestamp=now, type=f"{LONG[:-1]}{number}") for number in range(7)]
        long = event(customer=LONG, product=LONG, type=LONG, context=["x" * 4096, None, ""])
        self.service.post(event(), event(timestamp=now), *of_a_kind, long, long | {"timestamp": now})
        self.service.add_analyst("newcomer", "WITHOUT-EVENTS")
        self.service.add_analyst("insider", "BARCHART")
        self.webhook_receiver.broken.add(f"/{self.mark * 10}")
        self._add_schedule(f"{NAME}{self.mark}", webhook=f"{self.webhook_receiver.url}/{self.mark * 10}")
        self.page.get_by_role("link", name="Done").click()
        self.page.wait_for_url(re.compile(r"/recurring/\d+$"))
        self.schedule = self.page.url
        submit(self.page, "Run now")

    def go(self, path: str) -> Page:
        self.page.goto(path if path.startswith("http") else f"/admin/{path}")
        return self.page

    def _add_schedule(self, name: str, **filled: str) -> None:
        page = self.go("reports/recurring/new")
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_label("Customer", exact=True).select_option("BARCHART")
        page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
        for field, value in filled.items():
            page.locator(f"#{field}").fill(value)
        submit(page, "Add recurring report")

    def sign_in_and_errors(self) -> States:
        page = self.opener.open(self.service, None)
        yield "sign in", page
        page.get_by_label("User").fill("admin")
        page.get_by_label("Password").fill("wrong")
        submit(page, "Sign in")
        yield "a wrong password", page
        yield "a missing page", self.go("nothing")
        page = self.go("me")
        page.evaluate("document.querySelector('.who [name=csrf_token]').value = 'forged'")
        submit(page, "Sign out")
        yield "a forged form", page
        yield "an invalid query", self.go("rejected/group")
        page = self.opener.open(self.service, "insider", at="/admin/people")
        yield "a forbidden page", page

    def overview(self) -> States:
        yield "the overview", self.go("")
        page = self.go("?range=1h&by=type")
        page.get_by_text("Show as table").click()
        page.get_by_text("Custom range").click()
        yield "an hour by type, as a table", page
        yield "an invalid range", self.go("?start=2026-11-20T00:00&end=2026-11-19T00:00")

    def events(self) -> States:
        page = self.go("events")
        yield "the events", page
        open_filter(page)
        page.get_by_text("Event types:").click()
        yield "the filter of events", page
        page.locator(".events .name a").first.click()
        page.wait_for_url("**/admin/events/*")
        page.get_by_text("As JSON").click()
        yield "an event", page
        page = self.go(f"events?customer=BARCHART&text={uuid.uuid4().hex}")
        page.get_by_text("Saved views").click()
        page.get_by_role("link", name="Save this view").click()
        page.wait_for_url("**/views/new?**")
        yield "a new view", page
        page.get_by_label("Name").fill(" ")
        submit(page, "Save")
        yield "a new view without a name", page
        page.get_by_label("Name").fill(f"{NAME}{uuid.uuid4().hex}")
        page.get_by_label("Share it with all users").check()
        submit(page, "Save")
        page.get_by_text("Saved views").click()
        yield "saved views", page
        yield "the own page with a view", self.go("me")
        page.get_by_role("link", name=f"Remove the view {NAME}").first.click()
        page.wait_for_url("**/views/*/remove")
        yield "the confirmation of removing a view", page
        submit(page, "Remove")
        yield "a search without results", self.go(f"events?customer={LONG}&text=nowhere")
        yield "a filter with errors", self.go("events?start=soon&text=a%01b")
        self.service.post(event(context=[self.mark]), event(customer=LONG, product=LONG, context=[self.mark]))
        page = self.go("events/personal-data")
        yield "personal data", page
        page.get_by_label("Value").fill(self.mark)
        page.get_by_label("Context item").fill("nothing of the kind")
        submit(page, "Find")
        yield "personal data with an error", page
        page.get_by_label("Context item").fill("")
        submit(page, "Find")
        yield "what was found of a person", page
        submit(page, "Erase…")
        yield "the question before an erasure", page
        submit(page, "Erase 2 events")
        yield "the receipt of an erasure", page

    def explore(self) -> States:
        yield "numbers by type", self.go("explore?by=type")
        yield "numbers of a question with errors", self.go("explore?by=colour&start=soon")

    def reports(self) -> States:
        with self.service.worker_held():
            source = self.service.report("BARCHART")
            yield "a waiting report", self.go(f"reports/{source}")
            yield "a link to an unfinished file", self.go(f"reports/{source}/link")
            yield "the overview with a running report", self.go("")
            page = self.go(f"reports/{source}/cancel")
            yield "the confirmation of cancelling", page
            submit(page, "Cancel")
        yield "a cancelled report", page
        yield "the confirmation of a retry", self.go(f"reports/{source}/retry")
        source = self.service.complete("BARCHART")
        yield "a complete report", self.go(f"reports/{source}")
        yield "a link to its file", self.go(f"reports/{source}/link")
        page = self.go(f"reports/{source}/delete")
        yield "the confirmation of deleting its file", page
        submit(page, "Delete the file")
        yield "a report whose file was deleted", page
        yield "a link to a deleted file", self.go(f"reports/{source}/link")
        yield "the reports", self.go("reports")
        yield "no report in a state", self.go("reports?state=expired")
        yield "a preview of a report", self.go("reports/new?customer=BARCHART&product=PORTFOLIO")
        yield "no report of a filter", self.go(f"reports?text={LONG}")
        page = self.go(f"reports/new?customer=BARCHART&product=PORTFOLIO&types={LONG}")
        page.get_by_text("Types in the catalog").click()
        yield "a new report with its estimate", page
        for field, value in (("types", f"{LONG}XX"), ("delimiter", "||"), ("start", "2026-11-20T00:00")):
            page.locator(f"#{field}").fill(value)
        submit(page, "Start report")
        yield "a new report with errors", page

    def rejected(self) -> States:
        self.service.refuse(
            event(timestamp=-1), event(customer=LONG, type="", context=["x" * 4096] * 3), {LONG: 1}, "no event"
        )
        page = self.go("rejected")
        yield "rejected events by reason", page
        page.get_by_role("link", name="type is wrong").first.click()
        page.wait_for_url("**/rejected/group?**")
        yield "a group of rejected events", page
        page.get_by_label("Change before sending").select_option("type")
        submit(page, "again…")
        yield "a group of rejected events, with an error", page
        page.get_by_label("Change before sending").select_option("timestamp-iso")
        submit(page, "again…")
        yield "the question before a group is sent", page
        page.get_by_role("link", name="Cancel").click()
        page.wait_for_url("**/rejected/group?**")
        page.get_by_role("link", name=re.compile("Remove (it|all of them)")).click()
        page.wait_for_url("**/group/remove?**")
        yield "the confirmation of removing a group", page
        page = self.go("rejected/by/event")
        yield "rejected events", page
        yield "rejected events with a filter", self.go("rejected?text=nothing&start=5&reason=type-wrong")
        yield "rejected events with an invalid filter", self.go("rejected/by/event?start=5&end=3&reason=colour")
        page = self.go("rejected/by/event")
        page.get_by_role("link", name="Edit and send again").nth(2).click()
        page.wait_for_url(re.compile(r"/admin/rejected/\d+"))
        submit(page, "Send again")
        yield "a rejected event that is still invalid", page
        page.get_by_role("link", name="Remove it").click()
        page.wait_for_url("**/remove")
        yield "the confirmation of removing one", page
        yield "the overview with rejected events", self.go("")
        self.service.refuse_whole(event(), event(timestamp=-1, context=["x" * 4096] * 3), event(customer=LONG))
        page = self.go("rejected/by/request")
        yield "refused requests", page
        page.locator("tbody a").first.click()
        page.wait_for_url("**/rejected/request/*")
        yield "a refused request", page
        page.get_by_role("link", name="again…").click()
        page.wait_for_url("**/send")
        yield "the question before a request is sent", page
        submit(page, "Send 3 events")
        yield "a refused request that is still invalid", page
        page.get_by_role("link", name="Remove the request").click()
        page.wait_for_url("**/remove")
        yield "the confirmation of removing a request", page

    def catalog(self) -> States:
        for kind in ("customers", "missing"):
            yield f"the catalog, {kind}", self.go(f"catalog/{kind}")
        page = self.page
        submit(page, f"Add the product {LONG}")
        yield "an added code", page
        yield "the products", self.go("catalog")
        self.service.await_counts()
        page = self.go(f"catalog/product?code={LONG}")
        page.get_by_text("Show as table").click()
        yield "a product", page
        page.get_by_label("Columns").fill(f"userId\n{LONG}\n{LONG}")
        submit(page, "Save")
        yield "a product with an error", page
        page.get_by_role("link", name="Remove it").click()
        page.wait_for_url("**/remove?**")
        yield "the confirmation of removing a product", page
        submit(page, f"Remove {LONG}")
        yield "a new type", self.go("catalog/type/new")
        page = self.go("catalog/import")
        page.get_by_label("Or paste JSON").fill(json.dumps({"customers": [{"code": LONG}]}))
        submit(page, "Preview changes")
        yield "an import", page
        page.get_by_label("Or paste JSON").fill("[1,")
        submit(page, "Preview changes")
        yield "an import with an error", page

    def people(self) -> States:
        name = f"user-{self.mark}"
        page = self.go("people/new")
        page.get_by_role("combobox", name="Add a customer").press_sequentially("NOT-KNOWN")
        page.get_by_role("listbox").get_by_role("option").first.wait_for()
        yield "a new user for whom a customer is searched", page
        page = self.go("people/new")
        page.locator("#name").fill("a:b")
        submit(page, "Add user")
        yield "a new user with an error", page
        page.locator("#name").fill(name)
        submit(page, "Add user")
        yield "the displayed password", page
        new_user = self.opener.open(self.service, None)
        sign_in(new_user, name, page.locator("#password").inner_text())
        yield "the first own password", new_user
        page = self.go("people")
        yield "users", page
        page.get_by_role("link", name=name).click()
        page.wait_for_url(re.compile(r"/people/\d+$"))
        yield "a user", page
        address = page.url
        yield "a new password", self.go(f"{address}/password")
        yield "the confirmation of removing a user", self.go(f"{address}/remove")
        yield "the confirmation of ending sessions", self.go(f"{address}/sessions/end")
        yield "the confirmation of ending a session", self._asked_before_one_ends(address)
        yield "the confirmation of deactivating a user", self.go(f"{address}/deactivate")
        submit(page, f"Deactivate {name}")
        yield "a deactivated user", page
        yield "the profile", self.go("me")
        yield "the confirmation of ending other sessions", self.go("me/sessions/end")
        yield "the confirmation of ending an own session", self._asked_before_one_ends("me")
        page = self.go("me/password")
        page.get_by_label("Current password").fill("wrong")
        page.get_by_label("New password").fill("a password of my own")
        submit(page, "Change password")
        yield "the own password with an error", page
        yield "the audit log", self.go("audit")
        yield "the audit log with an error", self.go("audit?action=nonsense&start=x")
        yield "the audit log without results", self.go(f"audit?text={uuid.uuid4()}")

    def kept_forms(self) -> States:
        page = self.opener.open(self.service, at="/admin/reports/new")
        page.locator("#name").fill("Typed for a while")
        page.context.clear_cookies()
        submit(page, "Start report")
        yield "the sign-in after a form was sent too late", page
        sign_in(page, "admin")
        yield "a kept form", page

    def _asked_before_one_ends(self, path: str) -> Page:
        page = self.go(path)
        page.get_by_role("link", name="End the session of").first.click()
        page.wait_for_url(re.compile(r"/sessions/\d+/end$"))
        return page

    def second_factor(self) -> States:
        name = f"protected-{self.mark}"
        self.service.add_analyst(name, "BARCHART")
        page = self.opener.open(self.service, name, at="/admin/me/second-factor")
        yield "the set-up of a second factor", page
        phone = TOTP(page.locator("#secret").inner_text().replace(" ", ""))
        for password in ("wrong", self.service.passwords[name]):
            page.locator("#code").fill("wrong" if password == "wrong" else phone.now())
            page.get_by_label("Current password").fill(password)
            submit(page, "Turn on")
            yield f"the set-up with the password {password}", page
        page.goto("/admin/me")
        yield "the profile with a second factor", page
        for path, button in (("codes", "Replace codes"), ("off", "Turn off")):
            page.goto(f"/admin/me/second-factor/{path}")
            page.get_by_label("Code").fill("wrong")
            for field in page.get_by_label("Current password").all():
                field.fill(self.service.passwords[name])
            submit(page, button)
            yield f"the second factor: {path}, with an error", page
        page = self.go("people")
        page.get_by_role("link", name=name).click()
        page.get_by_role("link", name="Reset second factor").click()
        page.wait_for_url("**/second-factor")
        yield "the confirmation of resetting a second factor", page
        page = self.opener.open(self.service, None)
        sign_in(page, name, self.service.passwords[name])
        yield "the page for a code", page
        page.get_by_role("link", name="Use a recovery code").click()
        page.get_by_label("Code").fill("wrong")
        submit(page, "Sign in")
        yield "a wrong recovery code", page

    def keys(self) -> States:
        page = self.go("keys/new")
        page.get_by_label("Name").fill(LONG)
        page.get_by_label("Products").fill(f"{LONG}X")
        submit(page, "Add key")
        yield "a new key with an error", page
        page.get_by_label("Products").fill(LONG)
        submit(page, "Add key")
        yield "a key", page
        page = self.go("keys")
        yield "the keys", page
        page.get_by_role("link", name=f"Revoke {LONG}").first.click()
        page.wait_for_url("**/revoke")
        yield "the confirmation of revoking a key", page

    def tokens(self) -> States:
        page = self.go("me/tokens/new")
        page.get_by_label("Name").fill(LONG)
        page.get_by_label("Customers").fill(f"{LONG}X")
        page.get_by_label("reports:write").check()
        submit(page, "Add token")
        yield "a new token with an error", page
        page.get_by_label("Customers").fill(LONG)
        submit(page, "Add token")
        yield "a token", page
        yield "the own page with a token", self.go("me")
        page = self.go("tokens")
        yield "the tokens", page
        page.get_by_role("link", name=f"Revoke {LONG}").first.click()
        page.wait_for_url("**/revoke")
        yield "the confirmation of revoking a token", page

    def alerts(self) -> States:
        yield "no alerts", self.go("alerts")
        yield "no history of alerts", self.go("alerts/history")
        for firing in (True, False):
            self.service.add_alert(LONG, firing=firing)
        page = self.go("alerts")
        yield "alerts", page
        page.get_by_role("link", name="Events stopped").first.click()
        page.wait_for_url(re.compile(r"/alerts/\d+$"))
        yield "an alert", page
        page.get_by_role("link", name="Silence", exact=True).click()
        page.wait_for_url(re.compile(r"/silences/new"))
        page.get_by_label("Reason").fill(" ")
        submit(page, "Add silence")
        yield "a new silence with an error", page
        page.get_by_label("Reason").fill(f"{LONG} {LONG}")
        submit(page, "Add silence")
        yield "the silences", page
        yield "silenced alerts", self.go("alerts")
        yield "the history of alerts", self.go("alerts/history")
        yield "the overview with an alert", self.go("")

    def alert_channels(self) -> States:
        yield "no channels", self.go("alerts/channels")
        page = self.go("alerts/channels/new")
        page.get_by_label("Name").fill(LONG)
        page.get_by_label("Slack, Teams").check()
        page.get_by_label("URL", exact=True).fill(f"jsons://a.example/{LONG}")
        page.get_by_text("Examples").click()
        submit(page, "Add channel")
        yield "a new channel with an error", page
        page.get_by_label("Mail", exact=True).check()
        page.get_by_label("Mail to").fill(f"{LONG[:64]}@mail.example")
        submit(page, "Add channel")
        yield "a new channel", page
        self.service.add_alert_message(LONG)
        submit(page, "Send a test message")
        yield "a channel", page
        yield "the channels", self.go("alerts/channels")
        page.get_by_role("link", name=LONG).click()
        page.get_by_role("link", name="Edit").click()
        page.wait_for_url("**/edit")
        yield "the form of a channel", page
        page.goto(page.url.replace("/edit", "/remove"))
        yield "the confirmation of removing a channel", page

    def alert_rules(self) -> States:
        page = self.go("alerts/rules/new")
        yield "a new rule", page
        page.get_by_label("Name").fill(LONG)
        for kind in ("Volume far", "Many rejected", "Fixed limit", "Service health"):
            page.get_by_label(kind).check()
            yield f"the form of a rule, {kind}", page
        page.get_by_label("Events stopped").check()
        page.get_by_label("Minutes at least").fill("")
        submit(page, "Add rule")
        yield "a new rule with an error", page
        page.get_by_label("Minutes at least").fill("60")
        page.get_by_label("Product").select_option(LONG)
        submit(page, "Add rule")
        yield "the rules", page
        page.get_by_role("link", name=LONG).click()
        page.wait_for_url(re.compile(r"/rules/\d+$"))
        yield "a rule", page
        page.get_by_role("link", name="Remove").click()
        page.wait_for_url("**/remove")
        yield "the confirmation of removing a rule", page

    def system(self) -> States:
        for part in ("", "/settings", "/versions"):
            yield f"the system{part}", self.go(f"system{part}")

    def recurring(self) -> States:
        page = self.go(self.schedule)
        expect(page.locator(".deliveries").get_by_text("500")).to_be_visible()
        yield "a schedule with a failed webhook", page
        page.locator(".deliveries").get_by_role("link").click()
        page.wait_for_url("**/webhooks/*")
        yield "a webhook", page
        yield "the form of a schedule", self.go(f"{self.schedule}/edit")
        yield "the confirmation of removing one", self.go(f"{self.schedule}/remove")
        page = self.go(self.schedule)
        page.get_by_label("Notification").get_by_role("link", name=f"{NAME}{self.mark}").click()
        page.wait_for_url("**/reports/webhooks/*")
        webhook = page.url.partition("/admin/")[2]
        yield "a webhook with its deliveries", page
        submit(page, "Send a test")
        expect(page.get_by_text("500", exact=True)).to_be_visible()
        yield "a test of a webhook", page
        yield "the form of a webhook", self.go(f"{webhook}/edit")
        yield "the confirmation of removing a webhook", self.go(f"{webhook}/remove")
        yield "the webhooks", self.go("reports/webhooks")
        page = self.go("reports/webhooks/new")
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("URL").fill("https://evil.example/")
        submit(page, "Add webhook")
        yield "a new webhook with errors", page
        page = self.go(f"{webhook}/rotate")
        yield "the confirmation of a new secret", page
        submit(page, "Create a new secret")
        yield "a secret", page
        page = self.go(self.schedule)
        submit(page, "Pause")
        yield "a paused schedule", page
        yield "the schedules", self.go("reports/recurring")
        self._add_schedule(f"{NAME}{uuid.uuid4().hex}", delimiter="||", webhook="https://evil.example/")
        yield "a new schedule with errors", self.page

    def mail(self) -> States:
        page, address = self.go("people"), f"{self.mark}@example.com"
        page.locator("main").get_by_role("link", name="admin", exact=True).click()
        page.get_by_label("Mail address").fill(address)
        submit(page, "Save")
        page = self.go(f"{self.schedule}/edit")
        page.get_by_label("Mail to").fill("admin")
        submit(page, "Save")
        submit(page, "Run now")
        wait_until(lambda: [address] in self.mail_receiver.to, 30)
        message = self.mail_receiver.got[self.mail_receiver.to.index([address])]
        page = self.go(message["List-Unsubscribe"].strip("<>"))
        yield "the question before unsubscribing", page
        submit(page, "Unsubscribe")
        yield "the end of mail", page
        yield "a schedule with a removed recipient", self.go(self.schedule)

    def an_analyst(self) -> States:
        page = self.opener.open(self.service, "newcomer")
        yield "the first event", page
        for path in ("events", "reports", "catalog", "reports/recurring"):
            page.goto(f"/admin/{path}")
            yield f"{path} without events", page
        page = self.opener.open(self.service, "insider")
        yield "an analyst's overview", page
        page.goto("/admin/catalog/product?code=PORTFOLIO")
        yield "a product seen by an analyst", page


AREAS = [
    name for name, step in vars(PageTour).items() if getattr(step, "__annotations__", {}).get("return") == "States"
]


def test_anybody_can_use_every_page_in_both_themes_on_any_screen(
    service: Service,
    opener: PageOpener,
    webhook_receiver: Receiver,
    mail_receiver: MailServer,
    subtests: pytest.Subtests,
):
    tour, checker = PageTour(service, opener, webhook_receiver, mail_receiver), PageChecker()
    for area in AREAS:
        with subtests.test(area):
            found = [fault for name, page in getattr(tour, area)() for fault in checker.field_errors(page, name)]
            assert not found, "\n".join(found)
    assert pages_of_the_map() - checker.seen == set()
