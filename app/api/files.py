"""`/files/…`: report files for holders of a link.

Files in an S3 store are sent by the store. Files on the local disk are sent by the reverse proxy if SENDFILE is set.
Otherwise this process sends them, in a thread that is busy until the client has read the last byte, because granian has
no `wsgi.file_wrapper`. The number of such threads is limited, so that threads for event requests always remain.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, Response, current_app, redirect, request
from werkzeug.wsgi import FileWrapper

from app.api.query import checks_itself
from app.auth import current_principal
from app.exceptions import LinkInvalid, RateLimited, ReportExpired
from app.services.people.principal import Principal
from app.services.reports.service import Download, Reports

blueprint = Blueprint("files", __name__)
PARAMETERS = ("expires", "nonce", "signature")
BLOCK_BYTES = 256 * 1024
HANDED_OUT = (200, 206, 302)
AT_ONCE = 128  # of a process's 512 threads
RETRY_SECONDS = 5
NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")  # characters that an unquoted ASCII name cannot contain
places = threading.BoundedSemaphore(AT_ONCE)


@blueprint.get("/files/<source>")
@checks_itself
def download(source: str) -> Response:
    """A report's file; a link with anything more, or less, was changed."""
    given = [request.args.get(name, "") for name in PARAMETERS]
    is_changed = sorted(name for name, _ in request.args.items(multi=True)) != sorted(PARAMETERS)
    if is_changed or not given[0].isascii() or not given[0].isdigit():
        raise LinkInvalid("This link is not one that the service made. Ask for the report's file again.")
    reports: Reports = current_app.extensions["services"].reports
    found = reports.file(source, *given)
    response = _elsewhere(found) if found.link else _here(found, found.path.absolute())
    response.headers["Cache-Control"] = "private, no-store"
    who = current_principal()  # checked for HEAD, too, so that both methods return the same headers
    if request.method == "GET" and response.status_code in HANDED_OUT:
        _note(reports, found, who, response)
    return response


def _note(reports: Reports, found: Download, who: Principal | None, response: Response) -> None:
    """Record the download, also of a part, because two halves make the whole file."""
    try:
        reports.note_download(found.report, who, request.remote_addr or "")
    except BaseException:
        response.close()
        raise


def _elsewhere(found: Download) -> Response:
    """Return a redirect for GET, or the headers for HEAD, because the link is signed for GET only."""
    if request.method == "GET":
        return redirect(found.link, 302)
    response = _described(found)
    response.content_length = found.report.bytes
    response.accept_ranges = "bytes"
    return response


def _here(found: Download, path: Path) -> Response:
    settings = current_app.config["SETTINGS"]
    response = _described(found)
    response.last_modified = found.report.ended / 1000
    response.set_etag(found.report.sha256)
    if settings.sendfile == "x-accel":
        response.headers["X-Accel-Redirect"] = settings.sendfile_prefix + quote(path.name)
    elif settings.sendfile == "x-sendfile":
        response.headers["X-Sendfile"] = str(path)
    else:
        _send(response, found, path)
    return response


def _described(found: Download) -> Response:
    response = Response(mimetype=found.media_type)
    response.headers["Content-Disposition"] = _disposition(found.name)
    return response


def _disposition(name: str) -> str:
    """Return the header for saving a file under a Unicode name (RFC 6266, 8187), with ASCII for old browsers."""
    plain = NOT_PLAIN.sub("-", name)
    plain = f"_{plain}" if plain.startswith(("-", ".")) else plain
    real = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f"attachment; filename={plain}{real}"


def _send(response: Response, found: Download, path: Path) -> None:
    """Make the response the file, the requested part of it, or 304 if the client already has it."""
    size = response.content_length = found.report.bytes
    if request.method == "GET":
        response.response, response.direct_passthrough = Stream(path), True
    try:
        response.make_conditional(_asked(size), accept_ranges=True, complete_length=size)
    except BaseException:
        response.close()
        raise


def _asked(size: int) -> dict:
    """Return the environ without Range unless it is one byte range that is not a suffix longer than the file.

    RFC 9110 allows a server to send the whole file instead.
    """
    wish = request.range if request.method == "GET" else None
    is_one = wish is not None and wish.units == "bytes" and len(wish.ranges) == 1 and wish.ranges[0][0] >= -size
    return {key: value for key, value in request.environ.items() if is_one or key != "HTTP_RANGE"}


class Stream(FileWrapper):
    """File contents in blocks. It holds a download slot until it is closed or garbage-collected.

    Raises:
        RateLimited: all download slots are in use.
        ReportExpired: the file has just been removed.
    """

    def __init__(self, path: Path) -> None:
        self._place = places if places.acquire(blocking=False) else None
        if self._place is None:
            raise RateLimited(f"{AT_ONCE} files are being downloaded at this moment. Try again.", RETRY_SECONDS)
        try:
            super().__init__(path.open("rb"), BLOCK_BYTES)
        except FileNotFoundError:
            raise ReportExpired("The report's file was removed. Start the report again.") from None

    def close(self) -> None:
        """Release the download slot and close the file."""
        if self._place:
            self._place.release()
            self._place = None
            if hasattr(self, "file"):
                super().close()

    __del__ = close
