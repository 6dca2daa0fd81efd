"""WSGI middlewares for the proxies in front of the service."""

from __future__ import annotations

import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.middleware.proxy_fix import ProxyFix

WITH_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|(\d+(?:\.\d+){3}):\d+")


def below(app: WSGIApplication, base: str) -> WSGIApplication:
    """Serve under a path such as `/tally`, whether or not the proxy in front strips it from the URL."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == base or path.startswith(f"{base}/"):
            path = path[len(base) :]
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = base, path or "/"
        return app(environ, start_response)

    return serve if base else app


def behind(app: WSGIApplication, proxies: int) -> WSGIApplication:
    """Trust the given number of proxies about the client's address and its use of TLS."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found = WITH_PORT.fullmatch(environ.get("REMOTE_ADDR", ""))
        if found:  # some proxies add the client's port, which differs for each connection
            environ["REMOTE_ADDR"] = found[1] or found[2]
        return app(environ, start_response)

    return ProxyFix(serve, x_for=proxies, x_proto=proxies, x_host=0) if proxies else app
