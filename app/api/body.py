"""Read the body of a request within limits on its size, its decompressed size and its duration.

Werkzeug's own limit truncates a chunked body silently, so this module does not rely on it. granian also ends a body
silently when the client disconnects, so the received length is compared with the announced one. Media types and
content codings are validated before any byte is read.

A `read` blocks until all requested bytes have arrived or the client has disconnected, and `ops.body_watch` ends reads
that take too long. (A request cannot respond while another thread reads its body, because granian would wait for that
thread while it holds the GIL, which blocks the process.) `body_budget` limits the memory of all bodies together.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

import zstandard
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import ClientDisconnected

from app.api.body_budget import SMALL_BYTES, WAIT_SECONDS, Share
from app.exceptions import BodyMalformed, BodyTooLarge, Overloaded, TypeUnsupported

CHUNK_BYTES = 64 * 1024
MAX_PARTS = 1_000  # gzip members or zstd frames; each costs more time than its bytes suggest, and may be empty
SMALL_DIGITS = 5  # of a length that is read in one call: below 100 kB
MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 9659: maximum window of the zstd content coding
DRAINED_BYTES = 64 * 1024 * 1024
DRAINED_SECONDS = 5

# Browser beacons send text/plain. `curl -d` sends the media type of a form, regardless of the content.
JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
UNTYPED = ""
LINES_TYPE = "application/x-ndjson"


def register(app: Flask) -> None:
    """Make clients able to read a response that is sent before they have finished sending."""

    @app.after_request
    def drain(response: Response) -> Response:
        """Read the rest of the body for a while, because a client still sending would see a reset, not the response.

        A client that sent `Expect` has not started sending.
        """
        if response.status_code < 400 or g.get("body_is_over") or "Expect" in request.headers:
            return response
        if not _is_chunked() and not request.content_length:
            return response
        stream, deadline, read = _stream(), time.monotonic() + DRAINED_SECONDS, 0
        with suppress(BodyMalformed, ClientDisconnected, Overloaded):
            while read < DRAINED_BYTES and time.monotonic() < deadline and (chunk := stream.read(CHUNK_BYTES)):
                read += len(chunk)
        return response


class Body:
    """Body of a request in memory. As a context manager, it releases its share of the budget on exit.

    Attributes:
        is_lines: whether the body has one event per line.
    """

    __slots__ = ("_data", "_share", "is_lines")

    def __init__(self, data: bytes, share: Share | None, *, is_lines: bool) -> None:
        self._data, self._share, self.is_lines = data, share, is_lines

    def __enter__(self) -> bytes:
        return self._data

    def __exit__(self, *error: object) -> None:
        if self._share:
            self._share.release()


def read_json_body() -> Body:
    """Return the body of a request that accepts JSON.

    Raises:
        TypeUnsupported, BodyTooLarge, BodyMalformed: see the module docstring.
        Overloaded: the process has no room for the body now.
    """
    _check_type(JSON_TYPES)
    return _read()


def read_events_body() -> Body:
    """Return the body of a batch; see `read_json_body`."""
    _check_type((*JSON_TYPES, LINES_TYPE))
    return _read(is_lines=request.mimetype == LINES_TYPE)


def _check_type(allowed: tuple[str, ...]) -> None:
    given = request.environ.get("CONTENT_TYPE", UNTYPED)
    if given not in allowed and given.strip() != UNTYPED and request.mimetype not in allowed:
        raise TypeUnsupported(f"The Content-Type is {request.mimetype[:100]}; it must be {' or '.join(allowed)}.")


def _read(*, is_lines: bool = False) -> Body:
    limit = current_app.config["SETTINGS"].max_body_bytes
    environ = request.environ
    coding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    length = environ.get("CONTENT_LENGTH", "")
    if not coding and len(length) <= SMALL_DIGITS and length.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ:
        # A small uncompressed body of known length, the usual case, is read in one call.
        if int(length) > limit:
            raise _too_large(limit)
        body = environ["wsgi.input"].read(int(length))
        g.body_is_over = True
        if len(body) < int(length):
            raise cut_short(len(body), int(length))
        return Body(body, None, is_lines=is_lines)
    if coding not in CODINGS:
        raise TypeUnsupported(f"The Content-Encoding is {coding[:100]}; it must be gzip, deflate or zstd.")
    share = Share()
    try:
        data = CODINGS[coding](_receive(limit, share), limit, share)
        if len(data) > SMALL_BYTES:
            share.work(len(data))
    except BaseException:
        share.release()
        raise
    return Body(data, share, is_lines=is_lines)


def _stream() -> IO[bytes]:
    stream: IO[bytes] = request.environ["wsgi.input"] if _is_chunked() else request.stream
    return stream


def _is_chunked() -> bool:
    return "chunked" in request.environ.get("HTTP_TRANSFER_ENCODING", "").lower()


def _receive(limit: int, share: Share) -> Iterator[bytes]:
    """Yield the body as it arrives, until its deadline. A compressed one is limited like its decompressed form."""
    length = None if _is_chunked() else request.content_length
    if length is not None:
        if length > limit:
            raise _too_large(limit)
        share.receive(length, WAIT_SECONDS)
    deadline = time.monotonic() + current_app.config["SETTINGS"].body_seconds
    stream, read = _stream(), 0
    while chunk := stream.read(CHUNK_BYTES):
        read += len(chunk)
        if read > limit:
            raise _too_large(limit)
        if length is None:
            share.receive(len(chunk))
        yield chunk
        if time.monotonic() > deadline:
            g.body_is_over = True
            raise BodyMalformed("The body took too long to arrive.")
    g.body_is_over = True
    if length is not None and read < length:
        raise cut_short(read, length)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes, the most that one request may have.")


def cut_short(read: int, length: int) -> BodyMalformed:
    """Return the error of a body that ended early."""
    return BodyMalformed(f"The body is cut short: {read} of its {length} bytes arrived.")


def _plain(chunks: Iterator[bytes], limit: int, share: Share) -> bytes:
    return b"".join(chunks)


def _gzip(chunks: Iterator[bytes], limit: int, share: Share) -> bytes:
    return _inflate(chunks, limit, share, lambda first: zlib.MAX_WBITS | 16, parts=MAX_PARTS)


def _deflate(chunks: Iterator[bytes], limit: int, share: Share) -> bytes:
    """Decompress zlib's format, which RFC 9110 requires, or raw deflate, which some clients send.

    The first byte determines the format.
    """
    return _inflate(chunks, limit, share, lambda first: zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS)


def _inflate(
    chunks: Iterator[bytes], limit: int, share: Share, window: Callable[[int], int], *, parts: int = 1
) -> bytes:
    out, inflater, begun = bytearray(), None, 0
    for chunk in chunks:
        data = chunk
        while data:
            if inflater is None or (inflater.eof and parts > 1):
                inflater, begun = zlib.decompressobj(window(data[0])), begun + 1
                _check_parts(begun)
            elif inflater.eof:
                raise BodyMalformed("The compressed body has something behind its end.")
            try:
                piece = inflater.decompress(data, limit + 1 - len(out))
            except zlib.error as error:
                raise BodyMalformed(f"The body is not what its Content-Encoding says: {error}.") from None
            _grow(out, piece, limit, share)
            data = inflater.unconsumed_tail or inflater.unused_data
    if inflater is None or not inflater.eof:
        raise BodyMalformed("The compressed body is cut short.")
    return bytes(out)


def _zstd(chunks: Iterator[bytes], limit: int, share: Share) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    compressed = b"".join(chunks)
    out = bytearray()
    try:
        with decompressor.stream_reader(compressed, read_across_frames=True) as reader:
            while piece := reader.read(CHUNK_BYTES):
                _grow(out, piece, limit, share)
        # The stream reader treats a truncated frame as complete, so the frames are walked again, one piece at a time,
        # because the object copies everything after the end of a frame.
        frame, begun, start = None, 0, 0
        while start < len(compressed):
            if frame is None or frame.eof:
                frame = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
                begun += 1
                _check_parts(begun)
            piece = compressed[start : start + CHUNK_BYTES]
            frame.decompress(piece)
            start += len(piece) - len(frame.unused_data)
    except zstandard.ZstdError as error:
        raise BodyMalformed(f"The body is not what its Content-Encoding says: {error}.") from None
    if frame is not None and not frame.eof:
        raise BodyMalformed("The compressed body is cut short.")
    return bytes(out)


def _grow(out: bytearray, piece: bytes, limit: int, share: Share) -> None:
    if len(out) + len(piece) > limit:
        raise _too_large(limit)
    share.receive(len(piece))
    out += piece


def _check_parts(begun: int) -> None:
    if begun > MAX_PARTS:
        raise BodyTooLarge(f"The compressed body has more than {MAX_PARTS:,} parts; send it as one.")


CODINGS: dict[str, Callable[[Iterator[bytes], int, Share], bytes]] = {
    "identity": _plain,
    "": _plain,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
