"""Errors of the service, independent of how they are presented.

    TallyError
    ├── SettingInvalid        a setting is wrong; the service does not start
    ├── DatabaseNewer         the database was migrated by a newer version of this code
    ├── ReloadFailed          the running service could not load the new code, and continues unchanged
    ├── StoreUnavailable      the database cannot be reached in time; nothing was stored
    │   ├── OutcomeUnknown    it was asked to commit, and did not respond in time
    │   ├── StatementFailed   it can be reached, but could not execute one statement
    │   └── DatabaseUnsuitable  it cannot provide what Tally needs until an operator changes it
    ├── Overloaded            the process has no capacity for the request; nothing was stored
    ├── StorageFailed         the storage of report files cannot be reached or written; a retry may succeed
    ├── FileMissing           a file that should be there is not
    │   └── FileDamaged       … or is not what was written
    ├── RowTooWide            a report's row has more items than the report was planned for
    ├── QueueUnavailable      Redis cannot be reached in time; the sweeper completes the action later
    ├── BodyMalformed         the body is not in its declared format
    ├── BodyTooLarge          more bytes or events than one request may carry
    ├── TypeUnsupported       a media type or content coding that is not accepted
    ├── InputInvalid          well-formed, but a field is invalid; has the faults
    ├── KeyReused             an idempotency key was used before with another body
    ├── Unauthenticated       the credentials are missing or wrong
    ├── Forbidden             the caller is known but not allowed; may have the fault
    ├── RateLimited           too many requests; has the seconds until the next is accepted
    ├── KeyUnknown            there is no such ingest key
    ├── CatalogUnknown        the catalog has no such entry, or the caller may not see it
    ├── ImportOvertaken       another process imports the same file
    ├── EventUnknown          there is no such event, or it is not the caller's
    ├── RejectedUnknown       there is no such rejected event, or it is not the caller's
    ├── ScheduleUnknown       there is no such recurring report, or it is not the caller's
    ├── ScheduleBusy          the recurring report is being started at this moment
    ├── WebhookFailed         the server of a webhook did not respond
    ├── AccountInvalid        a user cannot be created or changed as requested
    │   └── AccountUnknown    there is no such user
    ├── SessionUnknown        there is no such session, or it has ended
    ├── LinkInvalid           a signed link was changed or has expired
    └── ReportError
        ├── ReportUnknown     no such report, or not the caller's
        ├── ReportRunning     its file does not exist yet
        ├── ReportFailed      its file will never exist
        ├── ReportEnded       it is complete and cannot be retried
        └── ReportExpired     its file was removed

`api/errors.py` turns them into HTTP responses, `cli` into exit codes, and `admin` into pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "REQUEST_PARAMETER_MISSING"
MALFORMED = "REQUEST_PARAMETER_MALFORMED"
FORBIDDEN = "REQUEST_AUTHORIZATION_FAILURE"


class TallyError(Exception):
    """Anything that the service itself refuses or cannot do; `str()` is a sentence for people."""


class SettingInvalid(TallyError):
    """A setting is wrong; the message names the variable and what is allowed."""


class DatabaseNewer(TallyError):
    """The database carries migrations that this version does not know."""


class ReloadFailed(TallyError):
    """The running service did not load the new code and continues with the old code, or no service runs."""


class StoreUnavailable(TallyError):
    """The database cannot be reached, or does not answer in time. Nothing was stored."""

    @property
    def plain(self) -> str:
        """Return the message for unknown callers, without the driver's text, which names servers, ports and users."""
        return f"{str(self).partition(': ')[0].rstrip('.')}." if self.__cause__ else str(self)


class OutcomeUnknown(StoreUnavailable):
    """The database was asked to commit and did not answer in time: whether it did is not known."""


class StatementFailed(StoreUnavailable):
    """The database is reachable but aborted or refused a statement: a time limit, a privilege, or a full disk."""


class DatabaseUnsuitable(StoreUnavailable):
    """The database lacks a property that Tally needs, such as UTF-8 text, until an operator changes it."""


class Overloaded(TallyError):
    """The process has no capacity for the request. Nothing was stored, and a retry may succeed shortly."""


class StorageFailed(TallyError):
    """The storage of report files refuses, is full, or does not answer in time. Trying again may mend it.

    The message may stand on a report's page: it names no key, signature or password.
    """


class FileMissing(TallyError):
    """A file that should be in the storage of report files is not there."""


class FileDamaged(FileMissing):
    """A file in the storage of report files does not have what was written into it."""


class RowTooWide(TallyError):
    """A context has more items than the report has columns, so the report must be planned again."""

    def __init__(self) -> None:
        super().__init__("A row has more context items than the report was planned for.")


class QueueUnavailable(TallyError):
    """Redis cannot be reached, or does not answer in time. Nothing is lost: the database knows what waits."""

    @property
    def plain(self) -> str:
        """Return the message without the text of Redis or the system; see `StoreUnavailable.plain`."""
        return f"{str(self).partition(': ')[0].rstrip('.')}."


class BodyMalformed(TallyError):
    """The body is not valid JSON or NDJSON, or not what its content coding promises."""


class BodyTooLarge(TallyError):
    """The body has more bytes, or more events, than one request may carry."""


class TypeUnsupported(TallyError):
    """The media type or the content coding is not one that is accepted."""


@dataclass(frozen=True, slots=True)  # a request may have very many
class FieldError:
    """One wrong field.

    Attributes:
        message: names its place, what was found, what is allowed.
        code: MISSING or MALFORMED.
        field: the event's field, without the place; empty where the event as a whole is wrong.
        is_unknown: the value is well-formed, but not in the catalog.
    """

    message: str
    code: str = MALFORMED
    field: str = ""
    is_unknown: bool = False


class InputInvalid(TallyError):
    """Input with wrong fields: `field_errors`, in the order of the input."""

    def __init__(self, message: str, field_errors: Sequence[FieldError]) -> None:
        super().__init__(message)
        self.field_errors = list(field_errors)


class KeyReused(TallyError):
    """An idempotency key that came before with another body."""


class Unauthenticated(TallyError):
    """No credentials, or wrong ones."""


class Forbidden(TallyError):
    """Authenticated, but not allowed: another customer's data, or a role too low."""

    def __init__(self, message: str, field_errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.field_errors = list(field_errors)


class RateLimited(TallyError):
    """More requests than may come: the next one passes after `seconds`."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class KeyUnknown(TallyError):
    """There is no such ingest key, or it is revoked already."""


class CatalogUnknown(TallyError):
    """The catalog has no such customer, product or type; or it is not the caller's to see."""


class ImportOvertaken(TallyError):
    """Somebody else imports the same file at this moment."""


class EventUnknown(TallyError):
    """There is no such event, or it is not the caller's: the two cannot be told apart."""


class RejectedUnknown(TallyError):
    """There is no such rejected event, as it was sent again or removed; or it is not the caller's."""


class ScheduleUnknown(TallyError):
    """There is no such recurring report or delivery of it, or it is not the caller's: the two cannot be told apart."""


class ScheduleBusy(TallyError):
    """Somebody else starts the recurring report at this moment."""


class WebhookFailed(TallyError):
    """The server that a webhook goes to cannot be reached, or gave no answer in time."""


class AccountInvalid(TallyError):
    """A user cannot be made, changed or removed as asked."""


class AccountUnknown(AccountInvalid):
    """There is no such user."""


class SessionUnknown(TallyError):
    """There is no such session, or it has ended."""


class LinkInvalid(TallyError):
    """A signed link that was changed or has expired."""


class ReportError(TallyError):
    """Something about one report."""


class ReportUnknown(ReportError):
    """No such report, or not the caller's: the two cannot be told apart."""


class ReportRunning(ReportError):
    """The report still runs, so there is no file yet."""


class ReportFailed(ReportError):
    """The report failed or timed out, so there will be no file."""


class ReportEnded(ReportError):
    """The report is complete: there is nothing to try again."""


class ReportExpired(ReportError):
    """The report's file was kept as long as promised, and is removed."""
