"""Signing in and being refused, and what an administrator does for a new user."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from playwright.sync_api import Page, expect
from pyotp import TOTP

from tests.browser.conftest import PageOpener, Service, open_filter, submit
from tests.conftest import PASSWORD
from tests.support.client import event

pytestmark = pytest.mark.browser
OWN = "a password of my own"


@pytest.fixture
def name() -> str:
    """Return a user name that is not in use."""
    return f"user-{uuid.uuid4()}"


def fill_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("User").fill(name)
    page.get_by_label("Password").fill(password)
    submit(page, "Sign in")


def add(page: Page, name: str, **ticked: str) -> str:
    """Add a user, and return the displayed password."""
    page.goto("/admin/people")
    page.get_by_role("link", name="New user").click()
    page.locator("#name").fill(name)
    for choice in ticked.values():
        page.get_by_role("radio", name=choice).check()
    submit(page, "Add user")
    return page.locator("#password").inner_text()


def test_a_new_user_signs_in_chooses_a_password_and_is_removed(on_postgresql: Service, opener: PageOpener, name: str):
    boss = opener.open(on_postgresql)
    given = add(boss, name, role="Operator")
    page = opener.open(on_postgresql, None)
    fill_in(page, name, given)
    expect(page.get_by_role("heading", name="Choose a password")).to_be_visible()
    page.goto("/admin/reports")
    page.get_by_label("Temporary password").fill(given)
    page.get_by_label("New password").fill(OWN)
    submit(page, "Set password")
    expect(page.get_by_text("Your password is changed.")).to_be_visible()

    boss.goto("/admin/people")
    boss.get_by_role("link", name=name).click()
    expect(boss.get_by_role("cell", name="Chrome on Linux", exact=True)).to_be_visible()
    boss.get_by_role("link", name="End the session of").click()
    expect(boss.get_by_text("Signed out at once:")).to_be_visible()
    submit(boss, "End it")
    page.goto("/admin/reports")
    expect(page).to_have_url(re.compile("/admin/sign-in"))
    fill_in(page, name, OWN)

    boss.get_by_role("radio", name="Analyst").check()
    submit(boss, "Save")
    assert page.goto("/admin/audit").status == 403
    boss.get_by_role("link", name="Remove").click()
    submit(boss, f"Remove {name}")
    page.goto("/admin/reports")
    expect(page).to_have_url(re.compile("/admin/sign-in"))

    boss.goto(f"/admin/audit?text={name}")
    done = boss.locator(".audit .did").all_inner_texts()
    assert done == ["User removed", "User changed", "Session ended", "Password changed", "User added"]


def test_everything_works_without_javascript(service: Service, opener: PageOpener, name: str):
    page = opener.open(service, java_script_enabled=False)
    add(page, name, kind="A program")
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name="Reset password").click()
    submit(page, "Reset password")
    expect(page.locator("#password")).not_to_be_empty()
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name="Remove").click()
    submit(page, f"Remove {name}")
    expect(page.get_by_text(f"{name} is removed.")).to_be_visible()
    page.get_by_role("link", name="Audit log").click()
    open_filter(page)
    page.get_by_label("Text").fill(name)
    page.get_by_label("What").select_option("user removed")
    submit(page, "Show")
    expect(page.locator(".audit tbody tr")).to_have_count(1)


def test_after_ten_wrong_passwords_the_form_says_how_long_to_wait(service: Service, opener: PageOpener, name: str):
    page = opener.open(service, None)
    fill_in(page, name, "wrong")
    expect(page.get_by_role("alert")).to_have_text("Wrong user name or password.")
    token = page.locator('input[name="csrf_token"]').first.input_value()
    for _ in range(9):
        form = {"user": name, "password": "wrong", "csrf_token": token}
        assert page.request.post("/admin/sign-in", form=form).status == 401
    fill_in(page, name, "wrong")
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile(r"Too many wrong passwords .* Try again in \d+ second")
    )
    expect(page.get_by_label("Password")).to_be_focused()
    fill_in(page, "admin", PASSWORD)  # another user from the same address
    expect(page).to_have_url(re.compile("/admin/$"))


def test_a_refresh_is_marked_so_that_it_does_not_extend_the_session(service: Service, opener: PageOpener):
    page = opener.open(service)
    for path in ("/admin/", "/admin/people", "/admin/audit", "/admin/reports"):
        with page.expect_request(lambda request: "/part" in request.url) as asked:
            page.goto(path)
        assert "x-tally-refresh" in asked.value.headers, path


def test_what_was_typed_survives_a_session_that_an_admin_ended(on_postgresql: Service, opener: PageOpener, name: str):
    on_postgresql.post(event())
    on_postgresql.add_analyst(name, "BARCHART")
    page = opener.open(on_postgresql, name, at="/admin/reports/new?customer=BARCHART&product=PORTFOLIO")
    page.locator("#name").fill("Typed for a while")
    boss = opener.open(on_postgresql, at="/admin/people")
    boss.get_by_role("link", name=name).click()
    boss.get_by_role("link", name="End the session of").click()
    submit(boss, "End it")

    page.locator("#name").press("End")
    with page.expect_response(re.compile("/reports/new/part")) as refreshed:
        page.keyboard.type(".")
    assert refreshed.value.status == 302, "the preview needs a session, and what was typed stays"
    expect(page.locator("#name")).to_have_value("Typed for a while.")
    submit(page, "Start report")
    expect(page.get_by_text("An administrator ended your session.")).to_be_visible()
    expect(page.get_by_text("What you typed is saved.")).to_be_visible()
    fill_in(page, name, on_postgresql.passwords[name])
    expect(page.get_by_text("Typed for a while.")).to_be_visible()
    submit(page, "Send it now")
    expect(page.get_by_role("heading", name="Typed for a while.")).to_be_visible()

    page.goto("/admin/reports/new?customer=BARCHART&product=PORTFOLIO")
    page.context.clear_cookies()
    submit(page, "Start report")
    fill_in(page, name, on_postgresql.passwords[name])
    submit(page, "Discard")
    expect(page.get_by_text("Nothing was sent.")).to_be_visible()


def test_a_page_of_another_site_cannot_send_a_form_here(service: Service, opener: PageOpener):
    page = opener.open(service)
    token = page.locator('input[name="csrf_token"]').first.input_value()
    elsewhere = page.context.new_page()
    elsewhere.route(
        "http://elsewhere.test/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"""
        <form method="post" action="{service.url}/admin/sign-out"><input name="csrf_token" value="{token}">
        <button>Win a prize</button></form>""",
        ),
    )
    elsewhere.goto("http://elsewhere.test/")
    with elsewhere.expect_navigation() as sent:
        elsewhere.get_by_role("button").click()
    assert sent.value.status == 400
    assert page.goto("/admin/me").status == 200


def test_a_key_is_made_used_and_revoked(service: Service, opener: PageOpener, name: str):
    page = opener.open(service, at="/admin/keys")
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill(name)
    submit(page, "Add key")
    token = page.locator("#token").inner_text()
    service.ask("/events", {"events": [event()]}, Authorization=f"Bearer {token}")
    page.goto("/admin/keys")
    line = page.locator(".keys tr", has_text=name)
    expect(line).to_contain_text("In use")
    line.get_by_role("link", name=f"Revoke {name}").click()
    expect(page.get_by_text("what they send is lost")).to_be_visible()
    submit(page, f"Revoke {name}")
    expect(line).to_contain_text("Revoked")
    page.goto(f"/admin/audit?text={name}")
    expect(page.locator(".audit .did")).to_have_count(2)


def test_a_token_is_made_used_and_revoked(service: Service, opener: PageOpener, name: str):
    page = opener.open(service, at="/admin/me")
    page.get_by_role("link", name="New token").click()
    page.get_by_label("Name").fill(name)
    submit(page, "Add token")
    token = page.locator("#token").inner_text()
    service.ask("/events?limit=1", Authorization=f"Bearer {token}")
    page.goto("/admin/tokens")
    line = page.locator(".tokens tr", has_text=name)
    expect(line).to_contain_text("Active")
    expect(line).not_to_contain_text("Never")
    line.get_by_role("link", name=f"Revoke {name}").click()
    submit(page, f"Revoke {name}")
    page.goto("/admin/me")
    expect(line).to_contain_text("Revoked")


def test_a_second_factor_is_set_up_and_asked_for_and_a_recovery_code_replaces_it(
    on_postgresql: Service, opener: PageOpener, name: str
):
    on_postgresql.add_analyst(name, "BARCHART")
    page = opener.open(on_postgresql, name)
    page.get_by_role("link", name=name).click()
    page.get_by_role("link", name="Set up").click()
    expect(page.get_by_role("img", name="QR code for an authenticator app")).to_be_visible()
    phone = TOTP(page.locator("#secret").inner_text().replace(" ", ""))
    page.locator("#code").fill(phone.now())
    page.get_by_label("Current password").fill(on_postgresql.passwords[name])
    submit(page, "Turn on")
    codes = page.locator("#codes").inner_text().split()
    assert len(codes) == 10
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text("10 recovery codes are left.")).to_be_visible()

    submit(page, "Sign out")
    fill_in(page, name, on_postgresql.passwords[name])
    expect(page.get_by_label("Code")).to_be_focused()
    page.get_by_label("Code").fill(phone.at(time.time() + 30))  # the current one is used
    submit(page, "Sign in")
    expect(page).to_have_url(re.compile("/admin/$"))

    submit(page, "Sign out")
    fill_in(page, name, on_postgresql.passwords[name])
    page.get_by_role("link", name="Use a recovery code").click()
    page.get_by_label("Code").fill(codes[0])
    submit(page, "Sign in")
    expect(page.get_by_text("9 recovery codes are left.")).to_be_visible()


def test_a_user_is_added_by_keyboard_alone(service: Service, opener: PageOpener, name: str):
    page = opener.open(service, at="/admin/people/new")
    page.locator("#name").focus()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # a program
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")  # an operator
    for _ in range(3):  # past the search for customers and their lines
        page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"User {name}")).to_be_visible()
