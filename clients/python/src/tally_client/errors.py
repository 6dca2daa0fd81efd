"""Errors of the client. All derive from `TallyError`; `str()` is a sentence for people."""

from __future__ import annotations


class TallyError(Exception):
    """Base class of the client's errors."""


class InvalidSetting(TallyError, ValueError):
    """An argument of `Tally`, or of a question to it, is wrong; the message names it and what is allowed."""


class InvalidEvent(TallyError, ValueError):
    """An event cannot be recorded; the message names the field, what was found and what is allowed."""


class QueueFull(TallyError):
    """The event was not recorded because too many wait, with `overflow="raise"`."""


class ClientClosed(TallyError):
    """The event was not recorded because the client is closed."""


class RequestFailed(TallyError):
    """The service rejects a request, or cannot be reached.

    Attributes:
        status: the HTTP status, or None if there was no response.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ReportFailed(TallyError):
    """A report failed, timed out or was cancelled, so it has no file."""


class DownloadFailed(TallyError):
    """A report file could not be downloaded completely, or does not have the content that the service wrote."""


class LibraryMissing(TallyError, ImportError):
    """pandas or pyarrow is not installed; the message says how to install it."""
