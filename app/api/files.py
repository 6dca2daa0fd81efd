"""`/files/…`: report files for holders of a link.

Files in an S3 store are sent by the store. Files on the local disk are sent by the reverse proxy if SENDFILE is set.
Otherwise this process sends them, in a thread that is busy until the client has read the last byte, because granian has
no `wsgi.file_wrapper`. The number of such threads is limited, so that threads for event requests always remain.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, current_app, redirect, request
from werkzeug.exceptions import PreconditionFailed
from werkzeug.wrappers import Response
from werkzeug.wsgi import FileWrapper

from app.api.openapi.components import DOWNLOADS_ERROR, LINK_ERROR, MATCH_ERROR, RANGE_ERROR
from app.api.openapi.operations import Operation, described_file, described_redirect
from app.auth import current_principal, services
from app.exceptions import LinkInvalid, RateLimited, ReportExpired
from app.services.reports.service import Download

blueprint = Blueprint("files", __name__)
PARAMETERS = ("expires", "nonce", "signature")
BLOCK_BYTES = 256 * 1024
HANDED_OUT = (200, 206, 302)
MAX_DOWNLOADS = 128  # of a process's 512 threads
RETRY_SECONDS = 5
NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")  # characters that an unquoted ASCII name cannot contain
download_slots = threading.BoundedSemaphore(MAX_DOWNLOADS)


@blueprint.get("/files/<source>")
@Operation(
    "reports",
    {
        "200": described_file("The whole file."),
        "206": described_file("The part that `Range` asks for."),
        "302": described_redirect("Where an S3 store has it, for a minute."),
        "304": {"description": "The file that `If-None-Match` names."},
        "403": LINK_ERROR,
        "412": MATCH_ERROR,
        "416": RANGE_ERROR,
        "429": DOWNLOADS_ERROR,
    },
    errors=("410", "503"),
    query=None,
    parameters=(*PARAMETERS, "Range", "If-None-Match"),
)
def download(source: str) -> Response:
    """A report's file; a link with anything more, or less, was changed."""
    given = [request.args.get(name, "") for name in PARAMETERS]
    is_changed = sorted(name for name, _ in request.args.items(multi=True)) != sorted(PARAMETERS)
    if is_changed or not given[0].isascii() or not given[0].isdigit():
        raise LinkInvalid("This link is not one that the service made. Ask for the report's file again.")
    found = services().reports.file(source, *given)
    response = _serve(found, found.path.absolute()) if found.path else _redirect(found, found.link or "")
    response.headers["Cache-Control"] = "private, no-store"
    who = current_principal()  # checked for HEAD, too, so that both methods return the same headers
    if request.method == "GET" and response.status_code in HANDED_OUT:
        try:  # also a part is recorded, because two halves make the whole file
            services().reports.note_download(found.report, who, request.remote_addr or "")
        except BaseException:
            response.close()
            raise
    return response


def _redirect(found: Download, link: str) -> Response:
    """Return a redirect for GET, or the headers for HEAD, because the link is signed for GET only."""
    if request.method == "GET":
        return redirect(link, 302)
    response = _described(found)
    response.content_length = found.report.bytes or 0
    response.accept_ranges = "bytes"
    return response


def _serve(found: Download, path: Path) -> Response:
    settings, report, response = current_app.config["SETTINGS"], found.report, _described(found)
    response.last_modified = datetime.fromtimestamp((report.ended_at or 0) / 1000, UTC)
    response.set_etag(report.sha256 or "")
    if settings.sendfile == "x-accel":
        response.headers["X-Accel-Redirect"] = settings.sendfile_prefix + quote(path.name)
    elif settings.sendfile == "x-sendfile":
        response.headers["X-Sendfile"] = str(path)
    else:
        _send(response, report.bytes or 0, path)
    return response


def _described(found: Download) -> Response:
    """Return a response for saving a file under a Unicode name (RFC 6266, 8187), with ASCII for old browsers."""
    plain = NOT_PLAIN.sub("-", found.name)
    plain = f"_{plain}" if plain.startswith(("-", ".")) else plain
    real = "" if plain == found.name else f"; filename*=UTF-8''{quote(found.name, safe='')}"
    return Response(mimetype=found.media_type, headers={"Content-Disposition": f"attachment; filename={plain}{real}"})


def _send(response: Response, size: int, path: Path) -> None:
    """Make the response the file, the requested part of it, or 304 if the client already has it.

    Range is ignored, as RFC 9110 allows, unless it is one byte range that is not a suffix longer than the file.
    """
    response.content_length = size
    if request.method == "GET":
        response.response, response.direct_passthrough = Stream(path), True
    wanted = request.range if request.method == "GET" else None
    is_one = wanted is not None and wanted.units == "bytes" and len(wanted.ranges) == 1 and wanted.ranges[0][0] >= -size
    environ = {key: value for key, value in request.environ.items() if is_one or key != "HTTP_RANGE"}
    try:
        response.make_conditional(environ, accept_ranges=True, complete_length=size)
        if response.status_code == PreconditionFailed.code:  # it would still contain the file
            raise PreconditionFailed("The file is another one than If-Match names.")
    except BaseException:
        response.close()
        raise


class Stream(FileWrapper):
    """File contents in blocks. It holds a download slot until it is closed or garbage-collected.

    Raises:
        RateLimited: all download slots are in use.
        ReportExpired: the file has just been removed.
    """

    def __init__(self, path: Path) -> None:
        self._has_slot = download_slots.acquire(blocking=False)
        if not self._has_slot:
            raise RateLimited(f"{MAX_DOWNLOADS} files are being downloaded at this moment. Try again.", RETRY_SECONDS)
        try:
            super().__init__(path.open("rb"), BLOCK_BYTES)
        except FileNotFoundError:
            raise ReportExpired("The report's file was removed. Start the report again.") from None

    def close(self) -> None:
        """Release the download slot and close the file."""
        if self._has_slot:
            download_slots.release()
            self._has_slot = False
            if hasattr(self, "file"):
                super().close()

    __del__ = close
