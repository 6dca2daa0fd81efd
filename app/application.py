"""Flask, less what an API request need not pay for: a profile showed both among its dearest calls."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Request
from flask.sessions import NullSession, SecureCookieSession, SecureCookieSessionInterface

from app.paths import is_api


class PeopleSessions(SecureCookieSessionInterface):
    """Sessions are people's: a program's request neither reads nor makes one, so no key is derived for it."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | NullSession:
        """See Flask's."""
        return self.make_null_session(app) if is_api(request.path) else super().open_session(app, request)


class Tally(Flask):
    """The application."""

    session_interface = PeopleSessions()

    def ensure_sync(self, func: Callable) -> Callable:
        """Every view and hook is synchronous; Flask would inspect each of them for each request."""
        return func
