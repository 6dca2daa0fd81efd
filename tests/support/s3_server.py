"""moto's S3 server as a program: `python -m tests.support.s3_server ADDRESS PORT`.

moto accepts any signature at any time. This server therefore checks signed links as S3 does, and responds 403 to an
expired or changed one, and to one that was signed for another method.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from werkzeug.serving import WSGIRequestHandler, run_simple

SECRET = "the secret of the tests"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Denied</Message></Error>"


class Quiet(WSGIRequestHandler):
    """Handler that does not log each request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *arguments: object) -> None:
        """Log nothing."""


def checked(app: Callable) -> Callable:
    """Return the application behind a check of signed links."""

    def run(environ: dict, start_response: Callable) -> Iterable[bytes]:
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        if "X-Amz-Signature" in query and not is_good(environ, query):
            start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(DENIED)))])
            return [DENIED]
        return app(environ, start_response)

    return run


def is_good(environ: dict, query: dict[str, str]) -> bool:
    """Return whether the signature of a link is right and not expired (AWS Signature Version 4 in the query)."""

    signature = query.pop("X-Amz-Signature")
    stamp = query["X-Amz-Date"]
    begun = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    pairs = "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in sorted(query.items()))
    path = quote(environ["PATH_INFO"].encode("latin-1"), safe="/~")
    lines = [environ["REQUEST_METHOD"], path, pairs, f"host:{environ['HTTP_HOST']}", "", "host", "UNSIGNED-PAYLOAD"]
    scope = query["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    right = hmac.new(key, "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest]).encode(), "sha256").hexdigest()
    is_over = datetime.now(UTC) >= begun + timedelta(seconds=int(query["X-Amz-Expires"]))
    return signature == right and not is_over


if __name__ == "__main__":
    # imported here, so that users of the secret do not need moto
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    moto = DomainDispatcherApplication(create_backend_app)
    run_simple(sys.argv[1], int(sys.argv[2]), checked(moto), threaded=True, request_handler=Quiet)
