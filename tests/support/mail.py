"""Real mail servers on this machine, with configurable behaviour."""

from __future__ import annotations

import asyncio
import email
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

OK = "250 OK"


@dataclass
class MailServer:
    """A mail server that records what it receives.

    Attributes:
        url: of a setting, without a user.
        got: the messages.
        sent: the same as bytes.
        to: their recipients, in the same order.
        answers: its next responses to a recipient, in order; then OK.
        was_encrypted: whether each message came over TLS.
    """

    url: str = ""
    got: list[EmailMessage] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    to: list[list[str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.pop(0) if self.answers else OK
        if answer == OK:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.sent.append(envelope.content)
        self.got.append(email.message_from_bytes(envelope.content, policy=default))
        self.to.append(envelope.rcpt_tos)
        self.was_encrypted.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return OK


@contextmanager
def mail_server(
    *, tls: ssl.SSLContext | None = None, from_start: bool = False, users: Mapping[str, str] | None = None
) -> Iterator[MailServer]:
    """Run a mail server.

    Args:
        tls: a context with which it offers STARTTLS, or which it demands `from_start`.
        users: passwords by name, if it requires them.
    """
    recorder, loop = MailServer(), asyncio.new_event_loop()

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given) -> AuthResult:
        is_right = users[given.login.decode()] == given.password.decode()
        return AuthResult(success=is_right, handled=False)

    def make() -> SMTP:
        log_in = {"authenticator": check, "auth_required": True, "auth_require_tls": False} if users else {}
        offered = None if from_start else tls
        return SMTP(recorder, hostname="mail.example", loop=loop, tls_context=offered, **log_in)

    async def start() -> asyncio.Server:
        return await loop.create_server(make, "127.0.0.1", 0, ssl=tls if from_start else None)

    # All of it runs in a thread of its own, because Playwright's loop may be running in this one.
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    recorder.url = f"{'smtps' if from_start else 'smtp'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield recorder
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    """Close a server, and end the conversations that are left."""
    server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
