"""The theme that whoever looks has chosen: light or dark; without a choice it is the system's.

The choice is a cookie that `static/theme.js` sets. The server writes it into the page, so that none shows up in the
other theme first.
"""

from __future__ import annotations

from flask import Flask, request

COOKIE = "theme"
THEMES = ("light", "dark")


def register(app: Flask) -> None:
    """Give templates the theme."""
    app.add_template_global(theme)


def theme() -> str:
    """The theme that was chosen, empty where none was."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in THEMES else ""
