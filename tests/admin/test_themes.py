"""Light, dark or as the system has it: a cookie's choice, which every page has from its first byte on."""

from __future__ import annotations

import pytest

ROOT = '<html lang="en"{}>'


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Themes do not depend on the database."""
    return sqlite_url


@pytest.mark.parametrize(
    ("cookie", "written"),
    [("light", ' data-theme="light"'), ("dark", ' data-theme="dark"'), ("", ""), ('"><script>', ""), ("LIGHT", "")],
)
def test_the_theme_that_was_chosen_is_written_into_the_page(boss, cookie, written):
    boss.choose_theme(cookie)
    page = boss.see("/admin/me")
    assert ROOT.format(written) in page
    assert f'name="color-scheme" content="{cookie if written else "light dark"}"' in page


def test_it_holds_where_nobody_is_signed_in_and_for_errors(visitor, boss):
    for somebody, path in ((visitor, "/admin/sign-in"), (boss, "/admin/nothing")):
        somebody.choose_theme("dark")
        assert ROOT.format(' data-theme="dark"') in somebody.get(path).get_data(as_text=True)


def test_the_switch_says_which_it_is(boss):
    assert "<span data-word>Theme: system</span>" in boss.see("/admin/me")
    boss.choose_theme("dark")
    assert "<span data-word>Theme: dark</span>" in boss.see("/admin/me")
