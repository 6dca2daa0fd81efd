"""Security headers of every response that browsers show, so that a page can load and do only what it needs."""

from __future__ import annotations

from flask import Flask, Response, request

JSON = "application/json"
SIGNED = "signature="  # part of a signed link, which opens a file without a login
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# same-origin instead of none: with none, a browser omits the origin of forms, which is checked.
NOSNIFF = "X-Content-Type-Options"
HEADERS = {
    "Content-Security-Policy": POLICY,
    NOSNIFF: "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def register(app: Flask) -> None:
    """Add security headers to pages, styles, scripts and files; JSON of the API gets only `nosniff`."""
    app.after_request(_mark)


def _mark(response: Response) -> Response:
    is_page = request.path.startswith("/admin")
    if response.headers.get("Content-Type") == JSON and not is_page:
        response.headers[NOSNIFF] = HEADERS[NOSNIFF]  # an error quotes the request
        return response
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)  # a page may have its own policy
    if is_page:
        response.headers["Cache-Control"] = "private, no-store"
    if request.path.startswith("/files/") or SIGNED in response.headers.get("Location", ""):
        response.headers["Referrer-Policy"] = "no-referrer"  # the URL alone gives access to the file
    return response
