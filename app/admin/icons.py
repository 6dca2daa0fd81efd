"""Icons of Bootstrap's set, inlined because its sprite of 2,000 icons is a megabyte and a page needs ten."""

from __future__ import annotations

import functools
import re
from importlib import resources

from flask import Flask
from markupsafe import Markup

SPRITE = "static/bootstrap5/icons/bootstrap-icons.svg"


def register(app: Flask) -> None:
    app.add_template_global(icon)


@functools.cache
def icon(name: str) -> Markup:
    """Return an icon as SVG, hidden from screen readers because a word always accompanies it.

    Raises:
        LookupError: Bootstrap has no icon of that name.
    """
    sprite = resources.files("flask_bootstrap").joinpath(SPRITE).read_text()
    symbol = re.search(rf'<symbol [^>]*viewBox="([^"]+)" id="{re.escape(name)}">(.*?)</symbol>', sprite, re.DOTALL)
    if symbol is None:
        raise LookupError(f"Bootstrap has no icon {name!r}.")
    box, drawing = symbol.groups()
    return Markup(f'<svg class="icon" viewBox="{box}" aria-hidden="true" focusable="false">{drawing}</svg>')  # noqa: S704
