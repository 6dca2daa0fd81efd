"""Logs on standard error, one line per record, as readable text for people or as JSON for collectors.

Many lines contain text from clients. In text format its control characters are escaped. Otherwise a line feed would
forge a log line, and the terminal that shows the log would execute an escape sequence.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import NoReturn, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

LEVEL = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]")  # the start of Granian's lines
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the one that this thread serves
_hooks = (sys.excepthook, threading.excepthook)
_format = "text"
# Control characters, line separators beyond ASCII, and marks that change the direction of the text after them.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
IN_TRACEBACK = re.compile(f"(?![\\n\\t]){CONTROL.pattern}")


def configure(log_format: str) -> None:
    """Set up structlog and the standard library's logging alike.

    Args:
        log_format: `text` or `json`.
    """
    global _format  # noqa: PLW0603 - the format of this process, because logging is global to the process
    _format = log_format
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        # Plain, because the default prints every local variable, including passwords, if `rich` is installed.
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)
    )
    shared: list[Processor] = [
        _add_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    finish: list[Processor] = [structlog.processors.format_exc_info if log_format == "json" else _escape]
    structlog.configure(
        processors=[*shared, *finish, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    is_json = log_format == "json"
    logging.captureWarnings(is_json)
    sys.excepthook, threading.excepthook = (_log_uncaught, _log_in_thread) if is_json else _hooks


def render_line(line: bytes) -> bytes:
    """Return a program's line in the format of the log, which may be JSON, or nothing for a blank line."""
    if _format != "json":
        return line + b"\n"
    with suppress(ValueError):
        if isinstance(json.loads(line), dict):
            return line + b"\n"
    if not line.strip():
        return b""
    text = line.decode(errors="replace")
    level = LEVEL.match(text)
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    record = {"event": text, "level": level[1].lower() if level else "info", "timestamp": moment}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def printable(text: str) -> str:
    """Return a text whose control characters are escaped, except line feeds and tabs."""
    return _escaped(text, IN_TRACEBACK)


def exit_with(error: Exception) -> NoReturn:
    """Exit because the settings are invalid. If LOG_FORMAT itself is valid, it applies to the message."""
    configure("json" if os.environ.get("LOG_FORMAT") == "json" else "text")
    sys.stderr.buffer.write(render_line(str(error).encode()))
    sys.exit(1)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        _hooks[0](kind, error, trace)
    else:
        structlog.get_logger(__name__).error("uncaught exception", exc_info=(kind, error, trace))


def _log_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        error = (args.exc_type, args.exc_value, args.exc_traceback)
        name = args.thread.name if args.thread else ""
        structlog.get_logger(__name__).error("uncaught exception in a thread", thread=name, exc_info=error)


def _add_request(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the id of the current request. It is read only here, so that requests that log nothing cost nothing."""
    if (request := request_id.get()) is not None:
        event["request"] = request
    return event


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape control characters. Values that are not text are formatted by `repr`, which escapes them."""
    return {name: _escaped(value, CONTROL) if isinstance(value, str) else value for name, value in event.items()}


def _plain_traceback(stream: TextIO, error: ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    stream.write(_escaped(text.getvalue(), IN_TRACEBACK))


def _escaped(text: str, control: re.Pattern[str]) -> str:
    return control.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
