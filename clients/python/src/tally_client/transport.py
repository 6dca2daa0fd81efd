"""HTTP: one connection that stays open for the sender, and single requests for readers."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from tally_client.errors import InvalidSetting
from tally_client.version import VERSION

AGENT = f"tally-client/{VERSION}"
MAX_REASON = 500  # characters of a response that an error shows


@dataclass(frozen=True)
class Server:
    """Where the service is.

    Attributes:
        host: with the port.
        path: what precedes the paths of the API, without a slash at its end.
    """

    is_secure: bool
    host: str
    path: str

    @property
    def url(self) -> str:
        """Return the address without a slash at its end."""
        return f"{'https' if self.is_secure else 'http'}://{self.host}{self.path}"


def parse_server(url: str) -> Server:
    """Return the server that a URL names.

    Raises:
        InvalidSetting: it is not an address of HTTP.
    """
    allowed = "url is {!r}; it must be the address of the service, such as 'https://tally.example'."
    if not isinstance(url, str):
        raise InvalidSetting(allowed.format(url))
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        raise InvalidSetting(allowed.format(url)) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidSetting(allowed.format(url))
    if "@" in parts.netloc:
        raise InvalidSetting("url contains credentials; pass key, token, or user and password instead.")
    return Server(parts.scheme == "https", parts.netloc, parts.path.rstrip("/"))


@dataclass(frozen=True)
class Response:
    """Response of the service, or of a proxy before it."""

    status: int
    headers: Message
    body: bytes

    def code(self) -> str | None:
        """Return the code of an error of the service, or None if the response is not one."""
        tree = self._tree()
        return None if tree is None else str(tree["value"].get("code"))

    def reason(self) -> str:
        """Return what an error says, for people."""
        tree = self._tree()
        if self.status == 401:
            return "HTTP 401: the service does not accept the key or credentials that were passed to Tally."
        if 300 <= self.status < 400:
            return f"HTTP {self.status}: the address has moved to {self.headers.get('Location')}. Pass that to Tally."
        if tree is None:
            text = self.body[:MAX_REASON].decode("utf-8", "replace").strip()
            return f"HTTP {self.status}" + (f": {text}" if text and "<" not in text else "")
        children = [str(child["value"].get("message")) for child in tree.get("children", ())]
        return " ".join([f"HTTP {self.status}:", str(tree["value"].get("message")), *children])[:MAX_REASON]

    def retry_after(self) -> float:
        """Return the seconds after which the service asks for the next attempt, 0 if it does not."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isdigit():
            return float(text)
        try:
            until, sent = parsedate_to_datetime(text), parsedate_to_datetime(self.headers.get("Date", ""))
        except (TypeError, ValueError, IndexError):
            return 0.0
        return max(0.0, (until - sent).total_seconds())

    def _tree(self) -> dict[str, Any] | None:
        try:
            tree = json.loads(self.body)[0]
            return tree if "code" in tree["value"] else None
        except (ValueError, LookupError, TypeError):
            return None


def authorization(key: str | None, user: str | None, password: str | None) -> Mapping[str, str]:
    """Return the header that authenticates with a key or token, or with user and password."""
    if key is not None:
        return {"Authorization": f"Bearer {key}"}
    if user is not None:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password or ''}".encode()).decode()}
    return {}


class Connection:
    """A connection for one request after another, opened when needed. One thread uses it."""

    def __init__(self, server: Server, headers: Mapping[str, str], timeout: float) -> None:
        self._server = server
        self._headers = {"User-Agent": AGENT, **headers}
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send a request that may be repeated, and return the response.

        Raises:
            OSError, http.client.HTTPException: there was none, so the outcome is unknown.
        """
        is_reused = self._connection is not None
        try:
            return self._send(path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not is_reused:
                raise
            return self._send(path, body, headers)  # the server closed it because it was idle

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        if self._connection is None:
            self._connection = self._open()
        try:
            self._connection.request("POST", self._server.path + path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            return Response(response.status, response.headers, response.read())
        except BaseException:
            self.close()
            raise

    def _open(self) -> http.client.HTTPConnection:
        if self._server.is_secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._server.host, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._server.host, timeout=self._timeout)
