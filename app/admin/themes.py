"""The user's theme: light or dark, or the system's if none is chosen.

`static/theme.js` stores the choice in a cookie. The server writes it into the page, so that no page appears in the
other theme first.
"""

from __future__ import annotations

from flask import Flask, request

COOKIE = "theme"
THEMES = ("light", "dark")


def register(app: Flask) -> None:
    """Add the theme to the templates."""
    app.add_template_global(theme)


def theme() -> str:
    """Return the chosen theme, or an empty string if none is chosen."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in THEMES else ""
