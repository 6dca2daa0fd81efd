"""What pages say about a session: in which browser, from where, since when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.admin.blueprint import services
from app.auth import current_session

# What a browser's name for itself has in it, and what people call that; the first that fits.
BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
SYSTEMS = {
    "Windows": "Windows",
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class SessionRow:
    """A session, ready to be shown.

    Attributes:
        session: the row itself, for what is shown as it is.
        is_this: whether it is the one by which the page was asked for.
    """

    session: object
    browser: str
    is_this: bool


def session_rows(account: int) -> list[SessionRow]:
    """A user's sessions, the last seen first."""
    visit = current_session()
    here = visit.id if visit else 0
    return [SessionRow(one, browser(one.agent), one.id == here) for one in services().sessions.of(account)]


def browser(agent: str) -> str:
    """What people call a browser that calls itself so: Firefox on Windows."""
    name, system = _first(BROWSERS.items(), agent), _first(SYSTEMS.items(), agent)
    if name is None:
        return agent[:SHOWN_CHARACTERS] or "Unknown"
    return f"{name} on {system}" if system else name


def _first(words: Iterable[tuple[str, str]], text: str) -> str | None:
    return next((said for word, said in words if word in text), None)
