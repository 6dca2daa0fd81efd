"""Reading a request's body: counted while it is read, decompressed within bounds, given up when it takes too long.

Werkzeug's own limit cuts a chunked body silently, so nothing here relies on it; granian ends a body as quietly when
the client goes away in its middle, so what arrived is compared with what was announced. Media types and content
codings are checked before a byte is read.

A `read` blocks until all that it asks for is there or the client is gone, and nothing can interrupt it. Nor may it be
left to another thread and the request be answered meanwhile: granian then waits for that thread with Python's lock in
its hand, and all stands still. So the deadline is looked at between the pieces of a large body, and a client that sends
nothing more costs a thread.
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

from app.exceptions import BodyMalformed, BodyTooLarge, TypeUnsupported

CHUNK_BYTES = 64 * 1024
SMALL_DIGITS = 5  # of a length that is read in one piece: below 100 kB
MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 9659: what a zstd content coding may ask of a receiver
DRAINED_BYTES = 64 * 1024 * 1024
DRAINED_SECONDS = 5

JSON_TYPES = ("application/json", "text/plain")  # text/plain is what a browser's beacon sends
LINES_TYPE = "application/x-ndjson"


def register(app: Flask) -> None:
    """Let clients read an answer that comes before the end of what they send."""
    app.after_request(_hear_out)


def read_json_body() -> bytes:
    """The body of a request that takes JSON.

    Raises:
        TypeUnsupported, BodyTooLarge, BodyMalformed: see the module.
    """
    _check_type(JSON_TYPES)
    return _read()


def read_events_body() -> tuple[bytes, bool]:
    """The body of a batch, and whether it has an event a line."""
    _check_type((*JSON_TYPES, LINES_TYPE))
    return _read(), request.mimetype == LINES_TYPE


def _check_type(allowed: tuple[str, ...]) -> None:
    if request.environ.get("CONTENT_TYPE") not in allowed and request.mimetype not in allowed:
        found = request.mimetype[:100] or "missing"
        raise TypeUnsupported(f"The Content-Type is {found}; it must be {' or '.join(allowed)}.")


def _read() -> bytes:
    limit = current_app.config["SETTINGS"].max_body_bytes
    environ = request.environ
    coding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    length = environ.get("CONTENT_LENGTH", "")
    if not coding and len(length) <= SMALL_DIGITS and length.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ:
        return _at_once(environ["wsgi.input"], int(length), limit)
    if coding not in CODINGS:
        raise TypeUnsupported(f"The Content-Encoding is {coding[:100]}; it must be gzip, deflate or zstd.")
    return CODINGS[coding](_bounded(_chunks(), limit), limit)


def _at_once(stream: IO[bytes], length: int, limit: int) -> bytes:
    """A small plain body whose length is told, as most are: in one read, without the machinery for the others."""
    if length > limit:
        raise _too_large(limit)
    body = stream.read(length)
    g.body_is_over = True
    if len(body) < length:
        raise _cut_short(len(body), length)
    return body


def _chunks() -> Iterator[bytes]:
    """The body as it arrives, until its deadline."""
    deadline = time.monotonic() + current_app.config["SETTINGS"].body_seconds
    stream = _stream()
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
        if time.monotonic() > deadline:
            g.body_is_over = True
            raise BodyMalformed("The body took too long to arrive.")
    g.body_is_over = True


def _stream() -> IO[bytes]:
    return request.environ["wsgi.input"] if _is_chunked() else request.stream


def _is_chunked() -> bool:
    return "chunked" in request.environ.get("HTTP_TRANSFER_ENCODING", "").lower()


def _bounded(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Count what arrives: an honest compressed body is no larger than what it becomes may be."""
    length = None if _is_chunked() else request.content_length
    if length is not None and length > limit:
        raise _too_large(limit)
    read = 0
    for chunk in chunks:
        read += len(chunk)
        if read > limit:
            raise _too_large(limit)
        yield chunk
    if length is not None and read < length:
        raise _cut_short(read, length)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes, the most that one request may have.")


def _cut_short(read: int, length: int) -> BodyMalformed:
    return BodyMalformed(f"The body is cut short: {read} of its {length} bytes arrived.")


def _hear_out(response: Response) -> Response:
    """Read on for a while: a client that is still sending when it is answered sees a reset instead of the answer."""
    if response.status_code >= 400 and _is_sending():
        _drain(_stream())
    return response


def _is_sending() -> bool:
    """Whether a part of the body may be on its way; a client that asks first has sent none."""
    if g.get("body_is_over") or "Expect" in request.headers:
        return False
    return _is_chunked() or bool(request.content_length)


def _drain(stream: IO[bytes]) -> None:
    deadline, read = time.monotonic() + DRAINED_SECONDS, 0
    with suppress(ClientDisconnected):
        while read < DRAINED_BYTES and time.monotonic() < deadline and (chunk := stream.read(CHUNK_BYTES)):
            read += len(chunk)


def _plain(chunks: Iterator[bytes], limit: int) -> bytes:
    return b"".join(chunks)


def _gzip(chunks: Iterator[bytes], limit: int) -> bytes:
    return _inflate(chunks, limit, lambda first: zlib.MAX_WBITS | 16, members=True)


def _deflate(chunks: Iterator[bytes], limit: int) -> bytes:
    """RFC 9110 means zlib's format; some clients send the raw one. The first byte tells."""
    return _inflate(chunks, limit, lambda first: zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS)


def _inflate(chunks: Iterator[bytes], limit: int, window: Callable[[int], int], *, members: bool = False) -> bytes:
    out, inflater = bytearray(), None
    for chunk in chunks:
        data = chunk
        while data:
            if inflater is None or (members and inflater.eof):
                inflater = zlib.decompressobj(window(data[0]))
            elif inflater.eof:
                raise BodyMalformed("The compressed body has something behind its end.")
            try:
                out += inflater.decompress(data, limit + 1 - len(out))
            except zlib.error as error:
                raise BodyMalformed(f"The body is not what its Content-Encoding says: {error}.") from None
            if len(out) > limit:
                raise _too_large(limit)
            data = inflater.unconsumed_tail or inflater.unused_data
    if inflater is None or not inflater.eof:
        raise BodyMalformed("The compressed body is cut short.")
    return bytes(out)


def _zstd(chunks: Iterator[bytes], limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    compressed = b"".join(chunks)
    out = bytearray()
    try:
        with decompressor.stream_reader(compressed, read_across_frames=True) as reader:
            while piece := reader.read(CHUNK_BYTES):
                out += piece
                if len(out) > limit:
                    raise _too_large(limit)
        _check_whole(compressed)
    except zstandard.ZstdError as error:
        raise BodyMalformed(f"The body is not what its Content-Encoding says: {error}.") from None
    return bytes(out)


def _check_whole(compressed: bytes) -> None:
    """The reader takes a cut frame for an ended one; a decompression object knows."""
    rest = compressed
    while rest:
        one = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        one.decompress(rest)
        if not one.eof:
            raise BodyMalformed("The compressed body is cut short.")
        rest = one.unused_data


CODINGS: dict[str, Callable[[Iterator[bytes], int], bytes]] = {
    "identity": _plain,
    "": _plain,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
