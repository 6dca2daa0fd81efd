"""Client of the dashboard with one persistent connection: signs in as a browser does, and finds pages by their
links.
"""

from __future__ import annotations

import html
import http.client
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from bench.servers import HOST, BenchFailed
from bench.service import PASSWORD

PATIENCE_SECONDS = 60
TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')
WAY = re.compile(r'(?:href|data-live)="(/admin/[^"#]*)"')


@dataclass
class Visitor:
    """An administrator's browser.

    Attributes:
        spent: milliseconds of the last page, from the request to its last byte.
    """

    port: int
    spent: float = 0.0
    _cookies: dict[str, str] = field(default_factory=dict)
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_SECONDS)

    def sign_in(self) -> None:
        """Fill in the sign-in form.

        Raises:
            BenchFailed: it was rejected.
        """
        _, form = self._ask("GET", "/admin/sign-in")
        fields = {"user": "admin", "password": PASSWORD, "csrf_token": TOKEN.search(form)[1]}
        status, page = self._ask("POST", "/admin/sign-in", urlencode(fields))
        if status != 302:
            raise BenchFailed(f"Nobody could sign in: {status} {page[:500]}")

    def see(self, address: str) -> str | None:
        """Return a page, or None if the address redirects or does not exist.

        Raises:
            BenchFailed: the service answered with an error.
        """
        status, page = self._ask("GET", address)
        if status >= 500:
            raise BenchFailed(f"{address} was answered {status}.")
        return page if status == 200 else None

    def find(self, rules: Map, begin: str, each: int = 1, but: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
        """Return every page that links lead to: its rule, and an address.

        Args:
            each: how many addresses of a rule are returned and followed, because some have links that others have not.
            but: endings of paths that are not requested.
        """
        known, waiting, asked = Counter(), [begin], set()
        while waiting:
            address = waiting.pop(0)
            rule = _rule(rules, address)
            if rule is None or rule.endswith(but) or known[rule] >= each or address in asked:
                continue
            asked.add(address)
            page = self.see(address)
            if page is None:
                continue
            known[rule] += 1
            yield rule, address
            waiting += [html.unescape(way) for way in WAY.findall(page)]

    def _ask(self, verb: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{HOST}:{self.port}"}
        began = time.perf_counter()
        self._connection.request(verb, path, body, headers)
        answer = self._connection.getresponse()
        page = answer.read()
        self.spent = (time.perf_counter() - began) * 1000
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer.status, page.decode(errors="replace")


def _rule(rules: Map, address: str) -> str | None:
    """Return the rule of the dashboard for an address."""
    try:
        rule, _ = rules.bind(HOST).match(urlsplit(address).path, "GET", return_rule=True)
    except HTTPException:
        return None
    return rule.rule if rule.endpoint.startswith("admin.") else None
