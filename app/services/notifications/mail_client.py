"""Mail client: sends a message through the server in SMTP_URL.

The connection is closed after a time limit. A password is sent only over TLS, except to this machine.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
import time
from contextlib import suppress
from email.message import EmailMessage
from email.utils import parseaddr
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from app.exceptions import MailFailed
from app.support.http_client import trust

TIMEOUT_SECONDS = 30.0  # of the whole exchange
PORTS = {"smtp": 587, "smtps": 465}
GREETING = 220
PERMANENT = range(500, 600)  # codes with which another try of the same message has no other result


class MailServer:
    """The server in SMTP_URL.

    Args:
        url: SMTP_URL; empty if no mail is sent.
        sender: MAIL_FROM.
    """

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self.sender = sender
        self.is_set = bool(url)
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or PORTS.get(parts.scheme, 0)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")

    @property
    def name(self) -> str:
        """Return host and port of the server, for people."""
        return f"{self._host}:{self._port}"

    def send(self, message: EmailMessage, to: str) -> str:
        """Send a message to an address, and return the server's response. Raise MailFailed if it did not accept it."""
        if not self.is_set:
            raise MailFailed("No mail is sent, because SMTP_URL is not set.")
        is_tls = self._scheme == "smtps"
        connection: smtplib.SMTP | None = None

        def cut() -> None:
            line = connection.sock if connection else None
            if line is not None:
                with suppress(OSError):  # the socket may be closed already
                    socket.socket.shutdown(line, socket.SHUT_RDWR)

        timer = threading.Timer(TIMEOUT_SECONDS, cut)
        began = time.monotonic()
        try:
            connection = (
                smtplib.SMTP_SSL(timeout=TIMEOUT_SECONDS, context=trust())
                if is_tls
                else smtplib.SMTP(timeout=TIMEOUT_SECONDS)
            )
            timer.start()
            return self._exchange(connection, message, to)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, said),) = error.recipients.values()
            raise _failure(code, said, f"{self.name} refused the recipient") from None
        except smtplib.SMTPResponseException as error:
            if error.smtp_code < GREETING:
                raise MailFailed(self._explain(error)) from None
            is_log_in = isinstance(error, smtplib.SMTPAuthenticationError)
            what = "refused the user or password" if is_log_in else "refused the message"
            raise _failure(error.smtp_code, error.smtp_error, f"{self.name} {what}", is_log_in=is_log_in) from None
        except (OSError, smtplib.SMTPException) as error:
            # smtplib says of a socket's timeout that the server disconnected
            if time.monotonic() - began >= TIMEOUT_SECONDS:
                raise MailFailed(f"{self.name} did not answer within {TIMEOUT_SECONDS:g} seconds.") from None
            raise MailFailed(self._explain(error)) from error
        finally:
            timer.cancel()
            if connection is not None:
                connection.close()

    def _exchange(self, connection: smtplib.SMTP, message: EmailMessage, to: str) -> str:
        connection._host = self._host  # type: ignore[attr-defined]  # the name that the certificate must have
        code, said = connection.connect(self._host, self._port)
        if code != GREETING:
            raise smtplib.SMTPConnectError(code, said)
        connection.ehlo()
        if self._scheme == "smtp" and connection.has_extn("starttls"):
            connection.starttls(context=trust())
            connection.ehlo()
        elif self._scheme == "smtp" and self._password and not is_this_machine(self._host):
            raise MailFailed(f"{self.name} offers no STARTTLS, so the password was not sent to it.")
        if self._password:
            connection.login(self._user, self._password)
        connection.send_message(message, parseaddr(self.sender)[1], [to])
        with suppress(OSError, smtplib.SMTPException):  # the message is accepted already
            connection.quit()
        return "accepted"

    def _explain(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"The certificate of {self.name} is not to be trusted: {error.verify_message}."
        if isinstance(error, socket.gaierror):
            return f"The host {self._host} cannot be found."
        if isinstance(error, smtplib.SMTPException):
            return f"{self.name} did not answer as a mail server does: {type(error).__name__}."
        return f"{self.name} cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}."


def _failure(code: int, said: bytes | str, what: str, *, is_log_in: bool = False) -> MailFailed:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return MailFailed(f"{what}: {text}", code, is_permanent=code in PERMANENT and not is_log_in)


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine, to which a password may be sent without encryption."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
