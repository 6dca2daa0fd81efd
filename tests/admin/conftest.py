"""Visitors: they follow links and send forms as a browser without JavaScript does, and see what stands on the page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest
from werkzeug.test import TestResponse

from app.store.models import Account
from tests.conftest import PASSWORD
from tests.support.page import Element, read

TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')


class Visitor:
    """Somebody at the dashboard, with the cookies they were given."""

    def __init__(self, app) -> None:
        self._client = app.test_client()

    def get(self, path: str, **kwargs: object) -> TestResponse:
        return self._client.get(path, **kwargs)

    def see(self, path: str) -> str:
        """A page that is there, its entities resolved."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return html.unescape(answer.get_data(as_text=True))

    def read(self, path: str) -> Element:
        """A page that is there, read by a parser."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return read(answer)

    def pages(self, path: str, more: str) -> Iterator[Element]:
        """A page of a list, and those that the link with the words `more` leads to."""
        while path:
            page = self.read(path)
            yield page
            path = page.link(more) or ""

    def send(self, path: str, fields: dict[str, str], *, form: str | None = None) -> TestResponse:
        """Fill in and send a form, with the token that stands in the page `form`."""
        page = self.get(form or path).get_data(as_text=True)
        return self.post(path, fields | {"csrf_token": TOKEN.search(page)[1]})

    def post(self, path: str, fields: dict[str, str]) -> TestResponse:
        return self._client.post(path, data=fields)

    def choose_zone(self, name: str) -> None:
        """What the switch of the page's head does."""
        self._client.set_cookie("zone", name, domain="localhost")

    def choose_theme(self, name: str) -> None:
        """What the switch of the left bar does."""
        self._client.set_cookie("theme", name, domain="localhost")

    def sign_in(self, name: str, password: str = PASSWORD) -> Visitor:
        answer = self.send("/admin/sign-in", {"user": name, "password": password})
        assert answer.status_code == 302, answer.get_data(as_text=True)
        return self


def key(name: str) -> int:
    """A user's id, as it stands in addresses."""
    return Account.get(Account.name == name).id


@pytest.fixture
def visitor(app) -> Visitor:
    """Somebody who has not signed in."""
    return Visitor(app)


@pytest.fixture
def boss(app, admin) -> Visitor:
    """The administrator, signed in."""
    return Visitor(app).sign_in("admin")


@pytest.fixture
def anna(app, analyst) -> Visitor:
    """The analyst of the customer BARCHART, signed in."""
    return Visitor(app).sign_in("anna")


@pytest.fixture
def olga(app, operator) -> Visitor:
    """The operator, signed in."""
    return Visitor(app).sign_in("olga")


@pytest.fixture
def limited(app, services) -> Visitor:
    """An operator of the customer BARCHART only, signed in."""
    services.accounts.add("otto", "operator", ["BARCHART"], PASSWORD)
    return Visitor(app).sign_in("otto")
