"""`/docs`: the page of the API has the dashboard's theme, and a way back to it."""

from __future__ import annotations

import pytest

from tests.support.client import Client


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The page knows no database."""
    return sqlite_url


def page(client: Client, theme: str = "") -> str:
    browser = client.app.test_client()
    browser.set_cookie("theme", theme, domain="localhost")
    answer = browser.get("/docs/")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_a_link_leads_back_to_the_dashboard(nobody):
    assert '<a href="/admin/">' in page(nobody)


@pytest.mark.parametrize(
    ("theme", "root"),
    [
        ("", '<html lang="en">'),
        ("light", '<html lang="en" data-theme="light">'),
        ("dark", '<html lang="en" data-theme="dark" class="dark-mode">'),
    ],
)
def test_the_chosen_theme_is_written_into_the_page(nobody, theme, root):
    found = page(nobody, theme)
    assert root in found
    assert f"<span data-word>Theme: {theme or 'system'}</span>" in found


def test_swagger_ui_is_dark_where_the_page_has_the_class(nobody):
    assert "html.dark-mode" in nobody.get("/docs/swagger-ui.css").get_data(as_text=True)


def test_the_choice_is_kept_for_the_dashboard_and_for_this_page(nobody):
    assert '<body data-path="/admin" data-docs="/docs">' in page(nobody)
