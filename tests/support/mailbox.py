"""Real SMTP server on this machine that records the mail that it receives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope


@dataclass
class Mailbox:
    """A mail server.

    Attributes:
        url: for SMTP_URL.
        got: the received messages.
        refusal: its response to every recipient, instead of accepting.
    """

    url: str = ""
    got: list[EmailMessage] = field(default_factory=list)
    refusal: str = ""

    async def handle_RCPT(self, server: object, session: object, envelope: Envelope, address: str, options: Any) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.got.append(message)
        return "250 Accepted"


class _Controller(Controller):
    """Controller that lets the system choose the port."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mailbox(user: str = "", password: str = "") -> Iterator[Mailbox]:
    """Run a mail server, which requires a user and a password if they are given."""
    box = Mailbox()

    def authenticate(server: object, session: object, envelope: object, mechanism: str, given: Any) -> AuthResult:
        is_right = (given.login, given.password) == (user.encode(), password.encode())
        return AuthResult(success=is_right, handled=False)

    options = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False} if user else {}
    controller = _Controller(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    box.url = f"smtp://{user}:{password}@127.0.0.1:{controller.port}" if user else f"smtp://127.0.0.1:{controller.port}"
    yield box
    controller.stop()
