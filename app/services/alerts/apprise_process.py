"""Program that sends one message by Apprise, and may connect to the permitted servers only.

It runs as a process of its own, because an audit hook of the interpreter enforces the limits, regardless of what
Apprise, its plugins or a server's response ask for:

- Names are resolved, and connections opened, only to the permitted hosts and ports. Redirects are not followed.
- Nothing is executed, no server socket is opened, and no file is written. Files are read only where Python and its
  packages are installed, so a URL cannot name a local file as a template or attachment.
- The system ends the process after a time limit, however slowly a server responds.

The request is JSON on standard input, and the result is JSON on standard output; see `services.alerts.sender`. The
program imports nothing of Tally, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

MAX_MEMORY_BYTES = 1 << 30  # a server's response may be endless
MAX_TEXT = 500  # characters of a server's response
# The beginnings of audit events that are not permitted, and of those among them that are.
CLOSED: tuple[str, ...] = ("socket.bind", "socket.send", "socket.gethostby", "socket.getnameinfo")
CLOSED += ("subprocess", "os.", "pty", "ctypes", "syslog")
HARMLESS = ("os.listdir", "os.scandir", "os.putenv", "os.unsetenv")

# The module and class of Apprise for each scheme that a channel's URL may have. All of them use the library `requests`.
PLUGINS = {
    "slack": ("slack", "NotifySlack"),
    "workflow": ("workflows", "NotifyWorkflows"),
    "workflows": ("workflows", "NotifyWorkflows"),
    "matrix": ("matrix", "NotifyMatrix"),
    "matrixs": ("matrix", "NotifyMatrix"),
    "pagerduty": ("pagerduty", "NotifyPagerDuty"),
    "json": ("custom_json", "NotifyJSON"),
    "jsons": ("custom_json", "NotifyJSON"),
    "discord": ("discord", "NotifyDiscord"),
    "gchat": ("google_chat", "NotifyGoogleChat"),
    "mmost": ("mattermost", "NotifyMattermost"),
    "mmosts": ("mattermost", "NotifyMattermost"),
    "ntfy": ("ntfy", "NotifyNtfy"),
    "ntfys": ("ntfy", "NotifyNtfy"),
    "tgram": ("telegram", "NotifyTelegram"),
}
MAIL = ("email", "NotifyEmail")


class ConnectionRefusedHere(socket.gaierror):
    """The connection is not permitted. Libraries treat it like a name that cannot be resolved."""


class Guard:
    """Audit hook that permits connections to some hosts and ports only.

    Attributes:
        refused: the hosts and ports that were asked for, and are not permitted.
    """

    def __init__(self, permitted: Iterable[tuple[str, int]]) -> None:
        self._permitted = set(permitted)
        self._addresses: set[tuple[Any, ...]] = set()
        self._folders = tuple(
            os.path.realpath(path) + os.sep for path in {*sys.path, sys.prefix, sys.base_prefix} if path
        )
        self._resolve = socket.getaddrinfo
        self.refused: list[tuple[str, int]] = []

    def install(self) -> None:
        """Enforce the limits from now on. An audit hook cannot be removed."""
        for place in (*ssl.get_default_verify_paths(), os.environ.get("REQUESTS_CA_BUNDLE")):
            self._folders += (place,) if place else ()
        socket.getaddrinfo = self._record_addresses
        sys.addaudithook(self._check)

    def _record_addresses(self, *args: Any, **kwargs: Any) -> Any:
        found = self._resolve(*args, **kwargs)
        self._addresses |= {tuple(sockaddr[:2]) for *_, sockaddr in found}
        return found

    def _check(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            self._check_name(args[0], args[1])
        elif event == "socket.connect":
            address = args[1]
            if not isinstance(address, tuple) or tuple(address[:2]) not in self._addresses:
                raise ConnectionRefusedHere(f"A connection to {address} is not permitted.")
        elif event == "open":
            self._check_file(args[0], args[1], args[2])
        elif event.startswith(CLOSED) and not event.startswith(HARMLESS):
            raise ConnectionRefusedHere(f"{event} is not permitted.")

    def _check_name(self, host: Any, port: Any) -> None:
        name = (host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)).rstrip(".").lower()
        asked = (name, int(port))
        if asked not in self._permitted:
            self.refused.append(asked)
            raise ConnectionRefusedHere(f"{name}:{port} is not permitted.")

    def _check_file(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int):  # a descriptor that is open already
            return
        is_write = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or bool(set(mode or "") & set("wax+"))
        if is_write or not os.path.realpath(os.fsdecode(path)).startswith(self._folders):
            raise PermissionError(f"The file {os.fsdecode(path)} may not be opened.")


class Log(logging.Handler):
    """What Apprise logs about a failure: warnings, and the reasons of SMTP servers."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning, or the text of an exception."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING or text.startswith("Socket Exception: "):
            self.lines.append(text.removeprefix("Socket Exception: "))


def main() -> None:
    """Read a request, send its message, and write the result."""
    request = json.load(sys.stdin)
    signal.alarm(request["seconds"])
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    guard = Guard((host, port) for host, port in request["permitted"])
    log, exchanges = _listen(), _record_exchanges()
    try:
        plugin = _plugin(request)
        if plugin is None:
            result: dict[str, Any] = {"invalid": True}
        else:
            guard.install()
            sent = plugin.notify(body=request["body"], title=request["title"], notify_type=request["type"])
            result = {"sent": bool(sent), "refused": guard.refused, "exchanges": exchanges}
    except (TypeError, ValueError, OSError) as error:
        result = {"invalid": True, "kind": type(error).__name__}
    sys.stdout.write(json.dumps(result | {"log": log.lines}))


def _listen() -> Log:
    log, logger = Log(), logging.getLogger("apprise")
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return log


def _record_exchanges() -> list[dict[str, Any]]:
    """Return a list to which each HTTP request adds the server, and its response or the error. Forbid redirects."""
    requests = importlib.import_module("requests")
    exchanges: list[dict[str, Any]] = []
    send = requests.Session.send

    def recorded(session: Any, request: Any, **kwargs: Any) -> Any:
        parts = urlsplit(request.url)
        exchange: dict[str, Any] = {"server": f"{parts.scheme}://{parts.hostname}:{parts.port or ''}".rstrip(":")}
        exchanges.append(exchange)
        try:
            response = send(session, request, **kwargs | {"allow_redirects": False})
        except requests.RequestException as error:
            exchange["error"] = _kind(requests, error)
            raise
        exchange |= {"status": response.status_code, "text": response.text[:MAX_TEXT]}
        return response

    requests.Session.send = recorded
    return exchanges


def _kind(requests: Any, error: Exception) -> str:
    """Return a word for why there was no response."""
    if isinstance(error, requests.exceptions.SSLError):
        return "certificate"
    if isinstance(error, requests.exceptions.Timeout):
        return "timeout"
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return "name" if type(reason).__name__ == "NameResolutionError" else "connection"


def _plugin(request: dict[str, Any]) -> Any:
    """Return the plugin that sends the message, or None if the URL is not valid."""
    asset = importlib.import_module("apprise.asset").AppriseAsset(
        app_id="Tally", app_desc="Tally", app_url=request["link"], image_url_mask="", image_url_logo=""
    )
    if mail := request["mail"]:
        module, name = MAIL
        plugin = _class(module, name)(asset=asset, from_addr="tally@localhost", **mail["options"])
        # Apprise reads addresses in its own way: o'brien@example.com would become brien@example.com.
        plugin.from_addr, plugin.targets = mail["sender"], [(False, address) for address in mail["recipients"]]
    else:
        found = _parse(request["url"])
        if found is None:
            return None
        kind, values = found
        try:
            plugin = kind(**values | {"asset": asset})
        except TypeError:  # Apprise's error for a part that is missing or wrong
            return None
    plugin.verify_certificate, plugin.redirects = True, False
    plugin.overflow_mode = "truncate"
    if type(plugin).__name__ == "NotifyPagerDuty":  # an incident of its own for each alert, and its end
        plugin.action, plugin.dedup = "map", request["key"]
    return plugin


def _parse(url: str) -> tuple[Any, dict[str, Any]] | None:
    """Return the plugin's class for a URL, and its arguments. A service's own webhook URL (https://) is valid, too."""
    scheme, url = url.partition("://")[0].lower(), url.replace("/#", "/%23")
    if scheme in PLUGINS:
        kind = _class(*PLUGINS[scheme])
        values = kind.parse_url(url)
        return (kind, values) if values else None
    for module, name in dict.fromkeys(PLUGINS.values()) if scheme == "https" else ():
        kind = _class(module, name)
        values = kind.parse_native_url(url)
        if values:
            return kind, values
    return None


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"apprise.plugins.{module}"), name)


if __name__ == "__main__":
    main()
