"""Sends a message to a channel by Apprise, in a process of its own that may reach the permitted servers only."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

from app.config import Settings
from app.exceptions import SettingInvalid
from app.services.alerts import apprise_process
from app.services.notifications.mail_client import is_this_machine
from app.services.notifications.sending import Outcome
from app.support.url_origin import named

SCHEMES = (*apprise_process.PLUGINS, "https")
SEND_SECONDS = 30  # to send a message, with every request that it needs
CHECK_SECONDS = 15
MAX_SAID = 500  # characters
MIN_SECRET = 4  # characters of a part of a URL that is masked; shorter ones would mask words
PASSED_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")
NEEDS_EXTRA = "Alert channels need apprise. Install the extra: tally-events[alerts]."
REASONS = {
    "certificate": "The certificate of {server} is not to be trusted.",
    "timeout": "{server} did not answer in time.",
    "name": "The host of {server} cannot be found.",
    "connection": "{server} cannot be reached.",
}


@dataclass(frozen=True)
class Target:
    """Where a channel's messages go: to mail addresses, or to an Apprise URL, which contains secrets."""

    addresses: tuple[str, ...] = ()
    url: str = ""


@dataclass(frozen=True)
class Message:
    """Message for people.

    Attributes:
        kind: `failure` for an alert, `success` for its end, `info` otherwise.
        key: identifies what the message is about, so that a service can merge messages about the same alert.
    """

    title: str
    body: str
    kind: str
    key: str


class Sender:
    """Sends messages by Apprise.

    Raises:
        SettingInvalid: ALERT_HOSTS is set, but Apprise is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hosts = sorted({named(text) for text in settings.alert_hosts}, key=str)
        if self._hosts and not _is_installed():
            raise SettingInvalid(f"ALERT_HOSTS: {NEEDS_EXTRA}")

    @property
    def hosts(self) -> list[str]:
        """Return the servers in ALERT_HOSTS, for people."""
        return list(map(str, self._hosts))

    @property
    def sends_mail(self) -> bool:
        """Return whether the settings for mail are there."""
        return bool(self._settings.smtp_url)

    def check(self, target: Target) -> str | None:
        """Return what is wrong with a channel's target, or None. Nothing is sent.

        Apprise is asked to send, but may connect to nothing, so the first server that it asks for is known.
        """
        if target.addresses:
            return None if self.sends_mail else "cannot be reached: set SMTP_URL first"
        scheme = target.url.partition("://")[0].lower()
        if "://" not in target.url or scheme not in SCHEMES:
            return "is not the URL of a service that is supported; see the examples in the documentation"
        if not _is_installed():
            return f"cannot be used: {NEEDS_EXTRA}"
        result = self._run(target, Message("Test", "Test", "info", "test"), [], CHECK_SECONDS)
        if result is None or result.get("invalid") or not result["refused"]:
            return f"is not a complete {scheme}:// URL; see the examples in the documentation"
        return self._refusal(result["refused"][:1])

    def send(self, target: Target, message: Message, seconds: int = SEND_SECONDS) -> Outcome:
        """Send a message, and return what came back. It takes at most so many seconds."""
        if target.addresses and not self.sends_mail:
            return Outcome(None, "Mail is not set up: SMTP_URL is not set.")
        if not _is_installed():
            return Outcome(None, NEEDS_EXTRA)
        permitted = [self._mail_server()] if target.addresses else [(one.host, one.port) for one in self._hosts]
        result = self._run(target, message, permitted, seconds)
        if result is None:
            return Outcome(None, f"There was no answer within {seconds} seconds.")
        if result.get("invalid"):
            return Outcome(None, "The URL is not complete; see the examples in the documentation.")
        said = self._refusal(result["refused"])
        if said is not None:
            return Outcome(None, f"The channel {said}.")
        said = _clean(_describe(result), self._secrets(target))
        return Outcome(None, said, is_good=result["sent"])

    def _refusal(self, refused: Sequence[Sequence[Any]]) -> str | None:
        """Return the end of a sentence about the first server that ALERT_HOSTS does not allow, if there is one."""
        for host, port in refused:
            if (host, port) not in {(one.host, one.port) for one in self._hosts}:
                server = host if port == 443 else f"{host}:{port}"
                allowed = ", ".join(self.hosts) or "none"
                return f"calls {server}, which ALERT_HOSTS does not allow; it allows {allowed}"
        return None

    def _run(
        self, target: Target, message: Message, permitted: Sequence[tuple[str, int]], seconds: int
    ) -> dict[str, Any] | None:
        """Return the result of the process, or None if there is none in time."""
        request = {"permitted": permitted, "seconds": seconds, "link": self._settings.base_url, "url": target.url}
        request |= {"title": message.title, "body": message.body, "type": message.kind}
        request |= {"key": f"{self._settings.base_url} {message.key}", "mail": self._mail(target)}
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                [sys.executable, "-I", apprise_process.__file__],
                input=json.dumps(request).encode(),
                capture_output=True,
                env=_environment(),
                timeout=seconds + 5,
                check=False,
            )
            result: dict[str, Any] = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        return result

    def _mail_server(self) -> tuple[str, int]:
        url = urlsplit(self._settings.smtp_url)
        return (url.hostname or "").rstrip(".").lower(), url.port or (465 if url.scheme == "smtps" else 587)

    def _mail(self, target: Target) -> dict[str, Any] | None:
        """Return how to send mail, from SMTP_URL and MAIL_FROM, or None for another channel; see `apprise_process`."""
        if not target.addresses:
            return None
        url, (host, port) = urlsplit(self._settings.smtp_url), self._mail_server()
        user, password = unquote(url.username or ""), unquote(url.password or "")
        must_encrypt = bool(password) and not is_this_machine(host)
        name, address = parseaddr(self._settings.mail_sender)
        return {
            "sender": (name or "Tally", address),
            "recipients": target.addresses,
            "options": {
                "smtp_host": host,
                "host": address.partition("@")[2],
                "port": port,
                "user": user or None,
                "password": password or None,
                "secure_mode": "ssl" if url.scheme == "smtps" else "starttls" if must_encrypt else "insecure",
                "format": "text",
            },
        }

    def _secrets(self, target: Target) -> list[str]:
        """Return the parts of a target that no page or log may show, longest first."""
        text = self._settings.smtp_url if target.addresses else target.url
        after = re.sub(r"^\w+://", "", text)
        parts = {part for one in (after, unquote(after)) for part in re.split(r"[/?#&=:@,;]", one)}
        parts -= {*_host_and_port(after), *(one.host for one in self._hosts)}
        return sorted((part for part in parts if len(part) >= MIN_SECRET), key=len, reverse=True)


def mask(target: Target) -> str:
    """Return a target without its secrets, for people."""
    if target.addresses:
        return ", ".join(target.addresses)
    parts = urlsplit(target.url)
    host = parts.hostname or ""
    # Without a dot it is no host, but a part of a token, as in slack://TOKEN/TOKEN/TOKEN.
    shown = f"{host}/" if "." in host and not parts.scheme.startswith("pagerduty") else ""
    return f"{parts.scheme}://{shown}…"


def _is_installed() -> bool:
    return importlib.util.find_spec("apprise") is not None


def _environment() -> dict[str, str]:
    """Return the environment of the process: no proxies, no settings of Apprise, no passwords in `.netrc`."""
    passed = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return passed | {"NETRC": "/nonexistent"} | ({"REQUESTS_CA_BUNDLE": trusted} if trusted else {})


def _host_and_port(after: str) -> set[str]:
    """Return the host and port of the part of a URL after its scheme, unless that is a token, which has no dot."""
    host, _, port = re.split(r"[/?#]", after.rpartition("@")[2])[0].partition(":")
    return {host, port} if "." in host else set()


def _describe(result: dict[str, Any]) -> str:
    """Return what the server answered, or why there was no answer."""
    exchange = next((one for one in reversed(result["exchanges"]) if "error" in one or one["status"] >= 300), None)
    exchange = exchange or (result["exchanges"][-1] if result["exchanges"] else None)
    if exchange is not None:
        if "error" in exchange:
            return REASONS[exchange["error"]].format(server=exchange["server"])
        return f"{exchange['server']} answered {exchange['status']}. {exchange['text']}"
    if result["sent"]:
        return "The mail server accepted the message."
    return " ".join(result["log"][-2:]) or "The message could not be sent."


def _clean(text: str, secrets: Sequence[str]) -> str:
    """Return a text without secrets, in a form that the database can store and a page can show."""
    for secret in secrets:
        text = text.replace(secret, "…")
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:MAX_SAID]
