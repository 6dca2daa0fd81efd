"""Forms that users sent after their session had ended. Redis keeps them until the same user signs in and sends them.

A form is kept for the user to whom its page was shown. Nobody else gets it, not even in the same browser.
"""

from __future__ import annotations

import secrets

import msgspec
import structlog

from app.exceptions import FormNotKept, FormUnknown, QueueUnavailable
from app.redis.queue import ReportQueue
from app.redis.rate_limit import RateLimit

KEPT_MINUTES = 30
MAX_BYTES = 64 * 1024  # of a form, with its address
MAX_FORMS = 20  # of a user in KEPT_MINUTES, so that nobody fills Redis
KEY_BYTES = 18
TOO_LARGE = f"What you typed is lost, because only forms of up to {MAX_BYTES // 1024} KiB are saved."
TOO_MANY = f"What you typed is lost, because {MAX_FORMS} of your forms are already saved."
AWAY = "What you typed is lost, because Redis, which would store it, cannot be reached."
UNKNOWN = (
    f"There is no saved form here. A form is saved for {KEPT_MINUTES} minutes, until it is sent or discarded, and only "
    "for the user who filled it in."
)

log = structlog.get_logger(__name__)


class KeptForm(msgspec.Struct, frozen=True):
    """Form as it was sent.

    Attributes:
        account: the id of the user to whom the form's page was shown.
        endpoint: the name of its route.
        address: its path with the query string.
        fields: names and values, in order, without the token of the session.
    """

    account: int
    endpoint: str
    address: str
    fields: list[tuple[str, str]]


class KeptForms:
    """Kept forms of all users."""

    def __init__(self, queue: ReportQueue, rate_limit: RateLimit) -> None:
        self._queue = queue
        self._rate_limit = rate_limit

    def keep(self, form: KeptForm) -> str:
        """Keep a form, and return the key under which its user finds it. Raise FormNotKept."""
        content = msgspec.json.encode(form)
        if len(content) > MAX_BYTES:
            raise FormNotKept(TOO_LARGE)
        if self._rate_limit.count("kept forms", str(form.account), MAX_FORMS, KEPT_MINUTES) is not None:
            raise FormNotKept(TOO_MANY)
        key = secrets.token_urlsafe(KEY_BYTES)
        try:
            self._queue.keep_form(key, content, KEPT_MINUTES * 60)
        except QueueUnavailable as error:
            log.warning("form without a session not kept", reason=str(error))
            raise FormNotKept(AWAY) from error
        return key

    def get(self, key: str, account: int) -> KeptForm:
        """Return a user's kept form. Raise FormUnknown, or QueueUnavailable."""
        form = _decode(self._queue.kept_form(key) or b"")
        if form is None or form.account != account:
            raise FormUnknown(UNKNOWN)
        return form

    def remove(self, key: str, account: int) -> KeptForm:
        """Remove a user's kept form, and return it. Raise FormUnknown, or QueueUnavailable."""
        form = self.get(key, account)
        self._queue.remove_form(key)
        return form


def _decode(content: bytes) -> KeptForm | None:
    try:
        return msgspec.json.decode(content, type=KeptForm)
    except msgspec.DecodeError:  # nothing, or what another version wrote
        return None
