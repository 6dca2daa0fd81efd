"""Logs: one line each on standard error, readable text for people or JSON for collectors."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from app.ops.requests import current_id


def configure(log_format: str) -> None:
    """Set up structlog and the standard library's logging alike.

    Args:
        log_format: `text` or `json`.
    """
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        # Plain: the default prints every local variable where `rich` is installed, and with them passwords.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    shared = [
        _add_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    finish = [structlog.processors.format_exc_info] if log_format == "json" else []
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


def _add_request(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Name the request that a line is about: asked for here, so that requests that log nothing pay nothing."""
    request = current_id()
    return event if request is None else event | {"request": request}
