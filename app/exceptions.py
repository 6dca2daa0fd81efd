"""Errors of the service, independent of how they are presented.

All derive from `TallyError`. Those of the database, of report files and of reports have base classes of their own.
`api/errors.py` turns them into HTTP responses, `cli` into exit codes, and `admin` into pages.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

MISSING = "REQUEST_PARAMETER_MISSING"
MALFORMED = "REQUEST_PARAMETER_MALFORMED"
FORBIDDEN = "REQUEST_AUTHORIZATION_FAILURE"


class TallyError(Exception):
    """Base class of the service's errors; `str()` is a sentence for people."""


class SettingInvalid(TallyError):
    """A setting is wrong; the message names the variable and what is allowed."""


class DatabaseNewer(TallyError):
    """The database has migrations that this version does not know."""


class ReloadFailed(TallyError):
    """The running service did not load the new code and continues with the old code, or no service runs."""


class BackupFailed(TallyError):
    """A backup, a restore or a move could not be done. What existed before is unchanged."""


class BackupRunning(BackupFailed):
    """Another backup of the same database is running."""

    def __init__(self) -> None:
        super().__init__("Another backup is running. Wait until it has ended.")


class BackupDamaged(BackupFailed):
    """Files of a backup are missing or not as they were written: `damage`, a sentence for each."""

    def __init__(self, message: str, damage: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.damage = list(damage)


class StoreUnavailable(TallyError):
    """The database cannot be reached, or does not respond in time. Nothing was stored."""

    @property
    def plain(self) -> str:
        """Return the message for unknown callers, without the driver's text, which names servers, ports and users."""
        return f"{str(self).partition(': ')[0].rstrip('.')}." if self.__cause__ else str(self)


class OutcomeUnknown(StoreUnavailable):
    """The database was asked to commit and did not respond in time, so the outcome is unknown."""


class StatementFailed(StoreUnavailable):
    """The database is reachable but aborted or refused a statement: a time limit, a privilege, or a full disk."""


class DatabaseUnsuitable(StoreUnavailable):
    """The database lacks a property that Tally needs, such as UTF-8 text, until an operator changes it."""


class SearchIncomplete(TallyError):
    """A person's data could not be searched completely. Nothing was removed."""


class AuditUnknown(TallyError):
    """There is no such entry in the audit log, or the caller may not see it."""


class Overloaded(TallyError):
    """The process has no capacity for the request. Nothing was stored, and a retry may succeed shortly."""


class StorageFailed(TallyError):
    """The storage of report files refuses, is full, or does not respond in time. A retry may succeed.

    The message may be shown on a report's page, so it contains no key, signature or password.
    """


class FileMissing(TallyError):
    """A file that should be in the storage of report files is not there."""


class FileDamaged(FileMissing):
    """A file in the storage of report files does not have the content that was written."""


class RowTooWide(TallyError):
    """A context has more items than the report has columns, so the report must be planned again."""

    def __init__(self) -> None:
        super().__init__("A row has more context items than the report was planned for.")


class QueueUnavailable(TallyError):
    """Redis cannot be reached, or does not respond in time. Nothing is lost, because the database has what waits."""

    @property
    def plain(self) -> str:
        """Return the message without the text of Redis or the system; see `StoreUnavailable.plain`."""
        return f"{str(self).partition(': ')[0].rstrip('.')}."


class ServerFailed(TallyError):
    """A server of others cannot be reached, does not answer in time, or answers with something unusable."""


class SignInInvalid(TallyError):
    """What the identity provider or a browser sent fails a check. The message may be shown; `cause` is for the log."""

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause or message


class SignInRefused(TallyError):
    """The identity provider knows the user, who has no role here or is deactivated."""


class BodyMalformed(TallyError):
    """The body is not valid JSON or NDJSON, or does not match its content coding."""


class BodyTooLarge(TallyError):
    """The body has more bytes, or more events, than one request may carry."""


class TypeUnsupported(TallyError):
    """The media type or the content coding is not accepted."""


class FieldError(msgspec.Struct, frozen=True, gc=False):  # a request may have very many
    """Error of a field.

    Attributes:
        message: its place, what was found, and what is allowed.
        code: MISSING or MALFORMED.
        field: the event's field, without the place; empty if the event as a whole is invalid.
        is_unknown: the value is well-formed, but not in the catalog.
    """

    message: str
    code: str = MALFORMED
    field: str = ""
    is_unknown: bool = False

    def with_message(self, message: str) -> FieldError:
        """Return the same error with another message."""
        return msgspec.structs.replace(self, message=message)


class InputInvalid(TallyError):
    """Input with invalid fields: `field_errors`, in the order of the input."""

    def __init__(self, message: str, field_errors: Sequence[FieldError]) -> None:
        super().__init__(message)
        self.field_errors = list(field_errors)


class KeyReused(TallyError):
    """An idempotency key was used before with another body."""


class Unauthenticated(TallyError):
    """The credentials are missing or wrong."""


class Forbidden(TallyError):
    """The caller is authenticated, but not allowed: another customer's data, or a role without the permission."""

    def __init__(self, message: str, field_errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.field_errors = list(field_errors)


class RateLimited(TallyError):
    """Too many requests; the next is accepted after `seconds`."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class KeyUnknown(TallyError):
    """There is no such ingest key, or it is revoked already."""


class TokenUnknown(TallyError):
    """There is no such API token, it is revoked already, or the caller may not see it."""


class ViewUnknown(TallyError):
    """There is no such saved view, or the caller may not open it; the error does not reveal which."""


class CatalogUnknown(TallyError):
    """The catalog has no such customer, product or type, or the caller may not see it."""


class ImportOvertaken(TallyError):
    """Another process is importing the same file."""


class EventUnknown(TallyError):
    """There is no such event, or the caller may not see it; the error does not reveal which."""


class ChangesLost(TallyError):
    """Events that follow a cursor of `GET /events/changes` cannot be read any more."""


class RejectedUnknown(TallyError):
    """There is no such rejected event, because it was resent or removed, or the caller may not see it."""


class ScheduleUnknown(TallyError):
    """There is no such recurring report or delivery, or the caller may not see it; the error does not reveal which."""


class ScheduleBusy(TallyError):
    """Another process is starting the recurring report."""


class WebhookUnknown(TallyError):
    """There is no such webhook or delivery, or the caller may not see it; the error does not reveal which."""


class WebhookFailed(TallyError):
    """The server of a webhook cannot be reached, or did not respond in time."""


class AlertUnknown(TallyError):
    """There is no such alert, alert rule or silence, or the caller may not see it; the error does not reveal which."""


class ChannelUnknown(TallyError):
    """There is no such alert channel."""


class MailFailed(TallyError):
    """A mail server cannot be reached, or did not accept a message.

    Attributes:
        code: the server's response, or None if there was none.
        is_permanent: whether another try of the same message has no other result.
    """

    def __init__(self, message: str, code: int | None = None, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_permanent = is_permanent


class AccountInvalid(TallyError):
    """A user cannot be created, changed or removed as requested."""


class AccountUnknown(AccountInvalid):
    """There is no such user."""


class CodeWrong(TallyError):
    """A code of a second factor is wrong, expired or already used."""


class SessionUnknown(TallyError):
    """There is no such session, or it has ended."""


class SessionMissing(TallyError):
    """A form was sent without a valid session."""


class FormUnknown(TallyError):
    """No form is kept under this key for this user, for example because it was sent, was discarded or has expired."""


class FormNotKept(TallyError):
    """A form that was sent without a session cannot be kept; `str()` says why."""


class LinkInvalid(TallyError):
    """A signed link was changed or has expired."""


class ReportError(TallyError):
    """Error of a single report."""


class ReportUnknown(ReportError):
    """There is no such report, or the caller may not see it; the error does not reveal which."""


class ReportRunning(ReportError):
    """The report is still running, so there is no file yet."""


class ReportFailed(ReportError):
    """The report failed or timed out, so there will be no file."""


class ReportEnded(ReportError):
    """The report is complete, so there is nothing to retry."""


class ReportExpired(ReportError):
    """The report's file has expired and was removed."""
