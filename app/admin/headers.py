"""What browsers are told about everything that people see, so that a page does only what it came to do."""

from __future__ import annotations

from flask import Flask, Response, request

JSON = "application/json"
SIGNED = "signature="  # what a link has that opens a file by itself
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# same-origin rather than none: with none a browser hides from forms where they come from, which is checked.
NOSNIFF = "X-Content-Type-Options"
HEADERS = {
    "Content-Security-Policy": POLICY,
    NOSNIFF: "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def register(app: Flask) -> None:
    """Mark pages, styles, scripts, files; of the JSON that is answered to programs only what it is."""
    app.after_request(_mark)


def _mark(response: Response) -> Response:
    is_page = request.path.startswith("/admin")
    if response.headers.get("Content-Type") == JSON and not is_page:
        response.headers[NOSNIFF] = HEADERS[NOSNIFF]  # an error quotes what was sent
        return response
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)  # a page may have a policy of its own
    if is_page:
        response.headers["Cache-Control"] = "private, no-store"
    if request.path.startswith("/files/") or SIGNED in response.headers.get("Location", ""):
        response.headers["Referrer-Policy"] = "no-referrer"  # who has the address has the file
    return response
