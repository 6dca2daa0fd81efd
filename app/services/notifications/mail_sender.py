"""Mail about the reports of recurring reports: to whom, and what it says.

Recipients are users with a mail address who may see the customer. A mail has a link to the report's page, which needs
their sign-in, and never the file: a person reads mail hours later, when a signed link of 15 minutes has expired, and
mail is forwarded. A recipient who may see the customer no more is removed, and so is one who unsubscribes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate, make_msgid, parseaddr
from hashlib import sha256

from itsdangerous import BadSignature, Signer

from app.exceptions import FieldError, InputInvalid, LinkInvalid, MailFailed
from app.schemas.json import shown
from app.schemas.reports import source
from app.services.notifications.mail_client import MailServer
from app.services.notifications.sending import PAUSES_SECONDS, Kind, Outcome
from app.services.people import audit
from app.services.people.accounts import principal
from app.services.people.principal import SYSTEM, Principal
from app.store.database import release, transaction
from app.store.models import Account, Delivery, Report, Schedule, ScheduleRecipient
from app.store.notifications import recipients as store
from app.store.people import accounts
from app.store.reports import reports as reports_store
from app.support.clock import now

WHOLE = {"Message-ID", "List-Unsubscribe"}  # headers whose value must arrive as it is
NO_ADDRESS, NO_ACCESS, GONE, DEACTIVATED, UNSUBSCRIBED = (
    "has no mail address any more",
    "may not see the customer any more",
    "is no user any more",
    "is deactivated",
    "has unsubscribed",
)


class Policy(EmailPolicy):
    """Policy that never encodes an id or a URL, as Python does with those that are longer than a line should be."""

    def fold_binary(self, name: str, value: str) -> bytes:
        """See EmailPolicy."""
        if name in WHOLE:
            return f"{name}: {value}{self.linesep}".encode("ascii")
        return super().fold_binary(name, value)


class MailSender:
    """Maker of mail about reports: a `Sender` of the queue.

    Args:
        base_url: PUBLIC_URL, to which links lead.
        secret: returns the installation's secret, which signs the links that unsubscribe.
    """

    kind = Kind("recipient", "mail", PAUSES_SECONDS, max_tries=8)

    def __init__(self, server: MailServer, base_url: str, secret: Callable[[], str]) -> None:
        self.server = server
        self._base_url = base_url
        self._secret = secret

    def find_recipients(self, names: Iterable[str], customer: str) -> list[Account]:
        """Return the users with these names.

        Raise InputInvalid if mail is not set up, or if one is unknown, has no address or may not see the customer. The
        error does not reveal which, because the caller may not see the list of users.
        """
        found, wrong = [], []
        for index, name in enumerate(dict.fromkeys(names)):
            account = accounts.by_name(name)
            if account is None or _why_not(account, customer):
                message = f"recipients[{index}] is {shown(name)}, no user with a mail address who may see {customer}."
                wrong.append(FieldError(message, field="recipients"))
            else:
                found.append(account)
        if found and not self.server.is_set:
            wrong = [FieldError("recipients get no mail, because SMTP_URL is not set.", field="recipients")]
        if wrong:
            raise InputInvalid("The recurring report cannot be saved.", wrong)
        return found

    def announce(self, since: int) -> None:
        """Remove recipients who may see their customer no more, and create deliveries of reports that have ended."""
        for recipient, schedule, account in store.active():
            if reason := _why_not(account, schedule.customer):
                remove(SYSTEM, schedule, recipient, reason)
        if self.server.is_set:
            for report, account_id in store.unannounced(since):
                store.add_delivery(str(uuid.uuid4()), report, account_id, now())

    def attempt(self, delivery: Delivery, moment: int) -> Outcome:
        """Send a delivery to its recipient, and return how the mail server responded."""
        found = store.of_delivery(delivery)
        report = reports_store.by_job(delivery.report or "")
        if found is None or report is None:
            return Outcome(None, "The recipient gets no mail of this recurring report any more.", is_final=True)
        recipient, schedule, account = found
        reason = _why_not(account, report.customer)
        if account is None or account.mail is None or reason:
            remove(SYSTEM, schedule, recipient, reason or GONE)
            return Outcome(None, f"{recipient.name} {reason}.", is_final=True)
        message = self._message(delivery, report, schedule, account.name, account.mail)
        release()  # no connection is needed while the server responds
        try:
            return Outcome(250, self.server.send(message, account.mail), is_good=True)
        except MailFailed as error:
            return Outcome(error.code, str(error), is_final=error.is_permanent)

    def test(self, by: Principal) -> str:
        """Send a test to the caller's own address, and return the result as a sentence."""
        account = accounts.by_id(by.id)
        if account is None or not account.mail:
            return "Not sent: you have no mail address. Add one on your profile page."
        message = self._envelope(account.name, account.mail, make_msgid(domain=self._domain))
        message["Subject"] = "A test of Tally"
        message.set_content(f"Mail of {self._base_url} arrives.\n")
        audit.note(by, "mail tested", f"user {account.name}")
        try:
            self.server.send(message, account.mail)
        except MailFailed as error:
            return f"Not sent. {error}"
        return f"{self.server.name} accepted a test for {account.mail}."

    def subscription(self, token: str) -> tuple[ScheduleRecipient, Schedule]:
        """Return what a link that unsubscribes is about.

        Raises:
            LinkInvalid: this service did not make the link, or the recipient gets no such mail any more.
        """
        try:
            schedule, account, added = self._signer.unsign(token).decode().split(".")
        except (BadSignature, ValueError):
            raise LinkInvalid("This link is not one that the service made.") from None
        found = store.find(int(schedule), int(account))
        if found is None or found[0].added_at != int(added):
            raise LinkInvalid("You get no mail of this recurring report any more.")
        return found

    def unsubscribe(self, token: str, address: str) -> None:
        """Remove the recipient of a link that unsubscribes; see `subscription`."""
        recipient, schedule = self.subscription(token)
        account = accounts.by_id(recipient.account)
        remove(principal(account) if account else audit.nobody(address), schedule, recipient, UNSUBSCRIBED)

    @property
    def _signer(self) -> Signer:
        return Signer(self._secret(), salt="unsubscribe", sep="~", digest_method=sha256, key_derivation="hmac")

    @property
    def _domain(self) -> str:
        return parseaddr(self.server.sender)[1].rpartition("@")[2]

    def _unsubscribe_url(self, schedule: int, recipient: int, added_at: int) -> str:
        return f"{self._base_url}/admin/unsubscribe/{self._signer.sign(f'{schedule}.{recipient}.{added_at}').decode()}"

    def _envelope(self, name: str, address: str, id: str) -> EmailMessage:
        message = EmailMessage(policy=Policy())
        message["From"] = self.server.sender
        # Python folds a long name at these signs as if they were not quoted.
        shown = _plain(name).replace('"', "'").replace("\\", "/")
        message["To"] = Address(shown, addr_spec=address)
        message["Date"] = formatdate()
        message["Message-ID"] = id
        message["Auto-Submitted"] = "auto-generated"
        return message

    def _message(self, delivery: Delivery, report: Report, schedule: Schedule, name: str, address: str) -> EmailMessage:
        """Return the mail of a delivery. Its id is the same in each try, so that a receiver can detect repeats."""
        is_complete = report.status == reports_store.COMPLETE
        found = store.find(schedule.id, delivery.recipient or 0)
        added_at = found[0].added_at if found else 0
        leave = self._unsubscribe_url(schedule.id, delivery.recipient or 0, added_at)
        message = self._envelope(name, address, f"<{delivery.key}@{self._domain}>")
        message["Subject"] = _plain(f"{schedule.name}: {'report is ready' if is_complete else 'report has failed'}")
        message["List-Unsubscribe"] = f"<{leave}>"
        if leave.startswith("https://"):  # RFC 8058 demands it
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        what = f"{report.rows:,} rows, {report.bytes:,} bytes." if is_complete else (report.reason or "It has no file.")
        lines = [
            f"The recurring report “{schedule.name}” {'is ready' if is_complete else 'has failed'}:",
            f"{report.product} of {report.customer}. {what}",
            "",
            "Open it (you need to sign in):",
            f"{self._base_url}/admin/reports/{source(report)}",
            "",
            f"You get this mail because {schedule.owner_name} or an operator named you as a recipient.",
            "To get no more mail of this recurring report:",
            leave,
            "",
        ]
        message.set_content("\n".join(lines), cte="quoted-printable")  # for servers that accept ASCII only
        return message


def remove(by: Principal, schedule: Schedule, recipient: ScheduleRecipient, reason: str) -> None:
    """Remove a recipient of a schedule, whose page says why."""
    named = f"recurring report {schedule.id}: {schedule.name}"
    with transaction():
        if store.remove(schedule.id, recipient.account, now(), reason):
            details = {"recipient": recipient.name, "reason": f"{recipient.name} {reason}"}
            audit.note(by, "recipient removed", named, details, customer=schedule.customer)


def _why_not(account: Account | None, customer: str) -> str | None:
    """Return why a user gets no mail about a customer, or None."""
    if account is None:
        return GONE
    if account.deactivated_at is not None:
        return DEACTIVATED
    if not principal(account).sees(customer):
        return NO_ACCESS
    return None if account.mail else NO_ADDRESS


def _plain(text: str) -> str:
    """Return a text without what a mail header cannot have.

    Python would decode what looks like an encoded word (RFC 2047), and write the line ends that it hides.
    """
    return "".join(character if character.isprintable() else " " for character in text).replace("=?", "= ?")
