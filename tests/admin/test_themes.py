"""The server writes the theme of the cookie into every page."""

from __future__ import annotations

import pytest

from tests.support.page import read


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because themes do not depend on the database."""
    return sqlite_url


@pytest.mark.parametrize(
    ("cookie", "theme"), [("light", "light"), ("dark", "dark"), ("", None), ('"><script>', None), ("LIGHT", None)]
)
def test_the_chosen_theme_is_written_into_the_page(boss, cookie, theme):
    boss.choose_theme(cookie)
    page = boss.read("/admin/me")
    assert page.first("html")["data-theme"] == theme
    assert page.first("meta", name="color-scheme")["content"] == (theme or "light dark")


def test_the_theme_applies_to_the_login_page_and_to_errors(visitor, boss):
    for browser, path in ((visitor, "/admin/sign-in"), (boss, "/admin/nothing")):
        browser.choose_theme("dark")
        assert read(browser.get(path)).first("html")["data-theme"] == "dark"


def test_the_switch_shows_the_theme(boss):
    assert "Theme: system" in boss.read("/admin/me")
    boss.choose_theme("dark")
    assert "Theme: dark" in boss.read("/admin/me")
