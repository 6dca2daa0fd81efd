"""Display values of a session: its browser, its address, and when it began."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.admin.blueprint import services
from app.auth import current_session

# Parts of a User-Agent header, and the common name for each; the first match counts.
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
    """Session, ready to be shown.

    Attributes:
        session: the database row, for values that are shown unchanged.
        is_this: whether it is the session of the current request.
    """

    session: object
    browser: str
    is_this: bool


def session_rows(account: int) -> list[SessionRow]:
    """Return a user's sessions, last seen first."""
    visit = current_session()
    here = visit.id if visit else 0
    return [SessionRow(one, browser(one.agent), one.id == here) for one in services().sessions.of(account)]


def browser(agent: str) -> str:
    """Return the common name of a User-Agent: Firefox on Windows."""
    name, system = _first(BROWSERS.items(), agent), _first(SYSTEMS.items(), agent)
    if name is None:
        return agent[:SHOWN_CHARACTERS] or "Unknown"
    return f"{name} on {system}" if system else name


def _first(words: Iterable[tuple[str, str]], text: str) -> str | None:
    return next((said for word, said in words if word in text), None)
