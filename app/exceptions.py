"""The errors that the service knows, and nothing about how they are told to anyone.

    TallyError
    ├── SettingInvalid        a setting is wrong; the service does not start
    ├── DatabaseNewer         the database was migrated by a newer version of this code
    ├── ReloadFailed          the running service could not change to the new code, and goes on as it was
    ├── StoreUnavailable      the database cannot be reached in time; nothing was stored
    │   ├── OutcomeUnknown    it was asked to commit, and no answer came in time
    │   ├── StatementFailed   it can be reached, and could not carry out one statement
    │   └── DatabaseUnsuitable  it cannot keep what is promised until an operator changes it
    ├── Overloaded            more is under way than this process takes; nothing was stored
    ├── StorageFailed         where report files are kept cannot be reached or written; a retry may mend it
    ├── FileMissing           a file that should be there is not
    │   └── FileDamaged       … or is not what was written
    ├── RowTooWide            a report's row has more items than the report was planned for
    ├── QueueUnavailable      Redis cannot be reached in time; the sweeper does later what was to be done
    ├── BodyMalformed         what came in is not the format it says it is
    ├── BodyTooLarge          more bytes or events than one request may carry
    ├── TypeUnsupported       a media type or content coding that is not accepted
    ├── InputInvalid          well-formed, but some field is wrong: carries the faults
    ├── KeyReused             an idempotency key that came before with another body
    ├── Unauthenticated       nobody that is known: no credentials, or wrong ones
    ├── Forbidden             known who, but not allowed: may carry the fault
    ├── RateLimited           too many requests: carries the seconds until one passes again
    ├── KeyUnknown            there is no such ingest key
    ├── CatalogUnknown        the catalog has no such entry, or it is not the caller's to see
    ├── ImportOvertaken       somebody else imports the same file
    ├── EventUnknown          there is no such event, or it is not the caller's
    ├── RejectedUnknown       there is no such rejected event, or it is not the caller's
    ├── ScheduleUnknown       there is no such recurring report, or it is not the caller's
    ├── ScheduleBusy          the recurring report is being started at this moment
    ├── WebhookFailed         the server that a webhook goes to gave no answer
    ├── AccountInvalid        a user cannot be made or changed as asked
    │   └── AccountUnknown    there is no such user
    ├── SessionUnknown        there is no such session, or it has ended
    ├── LinkInvalid           a signed link was changed or has expired
    └── ReportError
        ├── ReportUnknown     no such report, or not the caller's
        ├── ReportRunning     its file is not there yet
        ├── ReportFailed      its file will never be there
        ├── ReportEnded       it is complete, and cannot be tried again
        └── ReportExpired     its file was removed

`api/errors.py` turns them into HTTP, `cli` into exit codes, `admin` into pages.
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
    """The running service did not change to the new code; what ran before goes on, or nothing ran."""


class StoreUnavailable(TallyError):
    """The database cannot be reached, or does not answer in time. Nothing was stored."""

    @property
    def plain(self) -> str:
        """The same without the driver's words, which name servers, ports and users: for whoever is not known."""
        return f"{str(self).partition(': ')[0].rstrip('.')}." if self.__cause__ else str(self)


class OutcomeUnknown(StoreUnavailable):
    """The database was asked to commit and did not answer in time: whether it did is not known."""


class StatementFailed(StoreUnavailable):
    """The database can be reached, and ended or refused a statement: a time limit, a privilege, a full disk."""


class DatabaseUnsuitable(StoreUnavailable):
    """The database cannot keep what Tally promises, such as texts in UTF-8, until an operator changes it."""


class Overloaded(TallyError):
    """More is under way than this process takes at a time. Nothing was stored; a moment later there may be room."""


class StorageFailed(TallyError):
    """The storage of report files refuses, is full, or does not answer in time. Trying again may mend it.

    The message may stand on a report's page: it names no key, signature or password.
    """


class FileMissing(TallyError):
    """A file that should be in the storage of report files is not there."""


class FileDamaged(FileMissing):
    """A file in the storage of report files does not have what was written into it."""


class RowTooWide(TallyError):
    """A context has more items than the report's columns have room for: the report is to be planned anew."""

    def __init__(self) -> None:
        super().__init__("A row has more context items than the report was planned for.")


class QueueUnavailable(TallyError):
    """Redis cannot be reached, or does not answer in time. Nothing is lost: the database knows what waits."""

    @property
    def plain(self) -> str:
        """The same without Redis's or the system's words; see `StoreUnavailable.plain`."""
        return f"{str(self).partition(': ')[0].rstrip('.')}."


class BodyMalformed(TallyError):
    """The body is not valid JSON or NDJSON, or not what its content coding promises."""


class BodyTooLarge(TallyError):
    """The body has more bytes, or more events, than one request may carry."""


class TypeUnsupported(TallyError):
    """The media type or the content coding is not one that is accepted."""


@dataclass(frozen=True)
class Fault:
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
    """Input with wrong fields: `faults`, in the order of the input."""

    def __init__(self, message: str, faults: Sequence[Fault]) -> None:
        super().__init__(message)
        self.faults = list(faults)


class KeyReused(TallyError):
    """An idempotency key that came before with another body."""


class Unauthenticated(TallyError):
    """No credentials, or wrong ones."""


class Forbidden(TallyError):
    """Authenticated, but not allowed: another customer's data, or a role too low."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = list(faults)


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
