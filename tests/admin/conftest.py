"""Clients of the dashboard, which follow links and submit forms like a browser without JavaScript."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from werkzeug.test import TestResponse

from app import auth
from app.services.people.sessions import ProviderSession
from app.store.models import Account
from tests.conftest import PASSWORD
from tests.support.page import Element, read

TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')


class Visitor:
    """Client of the dashboard with its own cookies."""

    def __init__(self, app) -> None:
        self.flask_client = app.test_client()

    def get(self, path: str, **kwargs: object) -> TestResponse:
        return self.flask_client.get(path, **kwargs)

    def see(self, path: str) -> str:
        """Return the markup of an existing page, with entities resolved."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return html.unescape(answer.get_data(as_text=True))

    def read(self, path: str) -> Element:
        """Return an existing page, parsed."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return read(answer)

    def pages(self, path: str, more: str) -> Iterator[Element]:
        """Yield a page of a list, then each page that the link with the text `more` leads to."""
        while path:
            page = self.read(path)
            yield page
            path = page.link(more) or ""

    def send(self, path: str, fields: dict[str, str], *, form: str | None = None) -> TestResponse:
        """Submit a form with the token that the page `form` contains."""
        page = self.get(form or path).get_data(as_text=True)
        return self.post(path, fields | {"csrf_token": TOKEN.search(page)[1]})

    def post(self, path: str, fields: dict[str, str]) -> TestResponse:
        return self.flask_client.post(path, data=fields)

    def choose_zone(self, name: str) -> None:
        """Set the cookie that the zone switch sets."""
        self.flask_client.set_cookie("zone", name, domain="localhost")

    def choose_theme(self, name: str) -> None:
        """Set the cookie that the theme switch sets."""
        self.flask_client.set_cookie("theme", name, domain="localhost")

    def sign_in(self, name: str, password: str = PASSWORD) -> Visitor:
        answer = self.send("/admin/sign-in", {"user": name, "password": password})
        assert answer.status_code == 302, answer.get_data(as_text=True)
        return self

    def with_session(self, name: str, provider: ProviderSession | None = None) -> Visitor:
        """Begin a session of a user, perhaps in one of the identity provider, without the sign-in page, which takes
        longer than most pages.
        """
        services = self.flask_client.application.extensions["services"]
        who = replace(services.accounts.named(name), address="127.0.0.1")
        with self.flask_client.session_transaction() as session:
            session.permanent = True
            session[auth.TOKEN] = services.sessions.begin(who, "", provider)
            session[auth.FORM_TOKEN] = f"{secrets.token_hex(20)}.{who.id}"
        return self


def key(name: str) -> int:
    """Return a user's id."""
    return Account.get(Account.name == name).id


@pytest.fixture
def visitor(app) -> Visitor:
    """Return a visitor who is not signed in."""
    return Visitor(app)


@pytest.fixture
def boss(app, admin) -> Visitor:
    """Return the signed-in administrator."""
    return Visitor(app).with_session("admin")


@pytest.fixture
def anna(app, analyst) -> Visitor:
    """Return the signed-in analyst of the customer BARCHART."""
    return Visitor(app).with_session("anna")


@pytest.fixture
def olga(app, operator) -> Visitor:
    """Return the signed-in operator."""
    return Visitor(app).with_session("olga")


@pytest.fixture
def limited(app, services) -> Visitor:
    """Return a signed-in operator of the customer BARCHART only."""
    services.accounts.add("otto", "operator", ["BARCHART"], PASSWORD)
    return Visitor(app).with_session("otto")
