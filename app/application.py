"""Flask, less what an API request need not pay for: a profile showed each of these among its dearest calls.

A request for events spends more in the framework than in its own code, and sixty-four wait for one interpreter. So
what every request pays is told here to be cheap; what is rare (errors, pages, files) goes Flask's own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from flask import Flask, Request, Response
from flask.globals import request_ctx
from flask.sessions import NullSession, SecureCookieSession, SecureCookieSessionInterface
from werkzeug.exceptions import BadRequest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter, MapAdapter, RequestRedirect

from app.api.answers import Answer
from app.api.query import check_parameters
from app.ops import body_watch
from app.ops.requests import request_id
from app.paths import is_api

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

NAME_DIGITS = 8  # in the cookie's name, to identify the installation
PROBES = ("/health/", "/metrics")
FILES = "/files/"
PORT = re.compile(r":\d{0,5}$")
WITH_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|(\d+(?:\.\d+){3}):\d+")

Marks = Callable[[Request], list[tuple[str, str]]]
Note = Callable[[str, str, int, float], None]
NO_ROUTE = ("other", "none")  # verbs and paths that are not ours are anybody's to invent


class TallyRequest(Request):
    """A request that knows whose it is, its id, and when it began (`perf_counter`)."""

    began = 0.0

    @cached_property
    def is_api(self) -> bool:
        """Whether it is a program's."""
        return is_api(self.path)

    @cached_property
    def id(self) -> str:
        """See `app.ops.requests`."""
        return request_id(self.environ.get("HTTP_X_REQUEST_ID"))


class PeopleSessions(SecureCookieSessionInterface):
    """Session interface for the pages. API requests use no session, so no key is derived for them.

    Downloads of report files do use it, because the audit log names the user who downloads a file.
    """

    def open_session(self, app: Flask, request: TallyRequest) -> SecureCookieSession | NullSession:
        """See Flask's."""
        is_program = request.is_api and not request.path.startswith(FILES)
        return self.make_null_session(app) if is_program else super().open_session(app, request)

    def get_cookie_name(self, app: Tally) -> str:
        """The installation's own."""
        return app.cookie_name

    def get_cookie_secure(self, app: Flask) -> bool:
        """Also where a proxy that is believed says that the request came over TLS, whatever PUBLIC_URL is."""
        return super().get_cookie_secure(app) or request_ctx.request.is_secure


class Id(IntegerConverter):
    """An id in a path: digits of ASCII, as Python takes those of every script, and as many as databases take."""

    regex = "[0-9]{1,18}"


class Tally(Flask):
    """Flask application of the service.

    Attributes:
        marks: functions that return the headers to set on every API response.
        body_seconds: time limit for receiving a request's body.
        hosts: host names that requests may use. Empty means any.
        note: called with each request's method, route, status, and seconds until the response began.
    """

    request_class = TallyRequest
    session_interface = PeopleSessions()

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.url_map.converters = {**self.url_map.converters, "int": Id}
        self.marks: list[Marks] = []
        self.body_seconds = 0.0
        self.hosts: tuple[str, ...] = ()
        self.note: Note = lambda verb, route, status, seconds: None

    def stand_under(self, path: str) -> None:
        """Serve under a path such as `/tally`, whether or not the proxy in front strips it from the URL."""
        if path:
            app = self.wsgi_app
            self.wsgi_app = lambda environ, start: app(_under(environ, path), start)

    @cached_property
    def secret_key(self) -> str:
        """Return the key that signs sessions. It is created on first use, so that read-only commands write no file."""
        return self.config["SETTINGS"].secret()

    @cached_property
    def cookie_name(self) -> str:
        """Return the name of the session cookie, which is unique to the installation.

        Browsers send the cookies of a host to each of its ports. Another installation on the same host would otherwise
        overwrite the cookie and sign users out.
        """
        own = sha256(f"{self.secret_key} {self.config['SETTINGS'].base_url}".encode()).hexdigest()[:NAME_DIGITS]
        return f"{self.config['SESSION_COOKIE_NAME']}-{own}"

    def stand_behind(self, proxies: int) -> None:
        """Believe what so many proxies say of where a request came from, and whether over TLS."""
        if proxies:
            app = self.wsgi_app
            self.wsgi_app = ProxyFix(
                lambda environ, start: app(_without_port(environ), start), x_for=proxies, x_proto=proxies, x_host=0
            )

    def ensure_sync(self, func: Callable) -> Callable:
        """Every view and hook is synchronous; Flask would inspect each of them for each request."""
        return func

    def create_url_adapter(self, request: TallyRequest | None) -> MapAdapter | None:
        """A program's request is matched by its path alone: no address is ever built from its Host."""
        if request is None:
            return super().create_url_adapter(None)
        request.began = perf_counter()
        body_watch.watch(request.environ, self.body_seconds)
        if self.hosts:
            self._check_host(request)
        if not request.is_api:
            return super().create_url_adapter(request)
        query = request.environ.get("QUERY_STRING", "")
        return MapAdapter(self.url_map, "", request.root_path or "/", "", "http", request.path, request.method, query)

    def raise_routing_exception(self, request: TallyRequest) -> NoReturn:
        """Lead a path that lacks a slash, or has two, to the right one: of this host, whatever the request calls it."""
        found = request.routing_exception
        if isinstance(found, RequestRedirect):
            parts = urlsplit(found.new_url)
            found.new_url = f"/{parts.path.lstrip('/')}" + (f"?{parts.query}" if parts.query else "")
        super().raise_routing_exception(request)

    def _check_host(self, request: TallyRequest) -> None:
        """Have a request to another name refused, after all that any answer needs. Probes may ask by address."""
        host = request.environ.get("HTTP_HOST", "")
        if not request.path.startswith(PROBES) and not _is_one_of(host, self.hosts):
            request.routing_exception = BadRequest(f'The Host "{host[:60]}" is not one of this service.')

    def preprocess_request(self) -> object:
        """Run the hooks only for pages and preflight requests, and check the parameters of API requests."""
        request = request_ctx.request
        if not request.is_api or request.method == "OPTIONS":
            return super().preprocess_request()
        return check_parameters() if request.environ.get("QUERY_STRING") else None

    def process_response(self, response: Response) -> Response:
        """An answer that went well only needs its marks; whatever else goes through the hooks."""
        request, status = request_ctx.request, response.status_code
        rule = request.url_rule
        verb, route = (request.method, rule.rule) if rule else NO_ROUTE
        self.note(verb, route, status, perf_counter() - request.began)
        if response.__class__ is not Answer or status != 200:
            return super().process_response(response)
        response.headers.extend([mark for marks in self.marks for mark in marks(request)])
        return response

    def do_teardown_request(self, *args: object) -> None:
        """Nothing waits for a request's end: what is to be let go is let go with its context, after errors too."""


def _under(environ: WSGIEnvironment, base: str) -> WSGIEnvironment:
    path = environ.get("PATH_INFO", "")
    if path == base or path.startswith(f"{base}/"):
        path = path[len(base) :]
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = base, path or "/"
    return environ


def _without_port(environ: WSGIEnvironment) -> WSGIEnvironment:
    """Some proxies tell the client's port as well: with each connection another one, so that nobody came twice."""
    found = WITH_PORT.fullmatch(environ.get("REMOTE_ADDR", ""))
    if found:
        environ["REMOTE_ADDR"] = found[1] or found[2]
    return environ


def _is_one_of(host: str, names: tuple[str, ...]) -> bool:
    """Whether a Host is one of some names; a name that begins with a dot is also all below it."""
    host = PORT.sub("", host).lower()
    return any(host == name.removeprefix(".") or (name[0] == "." and host.endswith(name)) for name in names)
