"""Hostile values in the path, query or form of every route are rejected, and break nothing."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from urllib.parse import quote, unquote

import pytest

from app.support.paths import is_api
from tests.conftest import PASSWORD
from tests.security.matrix import SENT, rows
from tests.security.test_markup import PARAMETERS
from tests.security.world import VARIABLE, World
from tests.support.client import Client
from tests.support.pace import by_turns

ROWS = [row.split() for row in rows()]
# encoded as in an address
HOSTILE = [
    "%00",
    "x%00",
    "%C0%80",  # overlong encoding of NUL
    "%ED%A0%80",  # half of a surrogate pair
    "%FF",
    "..%2F..%2Fetc%2Fpasswd",
    "%2E%2E",
    "%0D%0ASet-Cookie:%20x=y",
    quote("١"),  # a digit beyond ASCII
    quote("²"),
    "-1",
    "1e9",
    "%20",
    "{}",
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    "9" * 5_000,  # more digits than Python converts to a number
    "a" * 20_000,
]
NAMES = {
    *PARAMETERS,
    *("by", "state", "fault", "limit", "columns", "context", "description", "name", "recurrence", "hour", "mode"),
    *("bucketName", "bucketKey", "expires", "nonce", "signature", "customers", "role", "old", "new", "event", "up_to"),
    *("webhook", "change", "value", "file", "import", "with_types", "user", "password", "products", "spreadsheetSafe"),
}


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Use PostgreSQL, because it cannot store every text."""
    return postgres_url


class Attacker(World):
    """A malicious administrator, who may request everything that other users may."""

    def __init__(self, app) -> None:
        super().__init__(app)
        self._boss = self.known_client("admin")
        self.flask_client = Client(app, ("admin", PASSWORD))

    def status(self, verb: str, address: str, fields: dict[str, str] | None = None) -> int:
        if is_api(address.partition("?")[0]):
            body = {"data": b"{}", "content_type": "application/json"} if verb == "POST" else {}
            answer = self.flask_client.request(verb, address, **body)
        else:
            data = {"csrf_token": self.csrf_token_of(self._boss), **(fields or {})} if verb == "POST" else None
            answer = self._boss.flask_client.open(address, method=verb, data=data)
        answer.close()
        return answer.status_code

    def view(self, verb: str, path: str) -> set[str]:
        """Return the parameters and fields that the module of a view reads."""
        adapter = self.app.url_map.bind("")
        endpoint = adapter.match(self.address_of(verb, path).partition("?")[0], method=verb)[0]
        module = sys.modules[inspect.unwrap(self.app.view_functions[endpoint]).__module__]
        return NAMES & set(re.findall(r"\w+", inspect.getsource(module)))


@pytest.fixture
def attacker(app) -> Attacker:
    return Attacker(app)


def test_no_path_is_accepted_with_something_else_in_place_of_an_id(attacker):
    found = []
    tried = by_turns(list(itertools.product(ROWS, HOSTILE)), 0, 6)  # of 19 texts, each route gets 3 or 4
    for (verb, path), text in tried:
        for place in VARIABLE.findall(path):
            made = {"word": "product", "act": "delete"} | {place: text}
            address = VARIABLE.sub(lambda name, made=made: made.get(name[1], "1"), path)
            status = attacker.status(verb, address)
            found += [(verb, path, place, text[:30], status)] if not 400 <= status < 500 else []
    assert found == []


def test_an_address_with_a_nul_is_rejected_on_every_page(attacker):
    pages = [path for verb, path in ROWS if verb == "GET" and path.startswith("/admin")]
    pages = [path for path in pages if "/oidc/" not in path]  # which do not exist without an identity provider
    asked = [attacker.address_of("GET", path) for path in pages]
    statuses = [attacker.status("GET", f"{one}{'&' if '?' in one else '?'}anything=a&anything=%00") for one in asked]
    assert set(statuses) == {400}


def test_no_query_breaks_anything(attacker):
    found, turns = [], itertools.cycle(HOSTILE)
    paths = [path for verb, path in ROWS if verb == "GET" and "/health/" not in path]
    for place, path in enumerate(paths):
        address = attacker.address_of("GET", path)
        joined = f"{address}{'&' if '?' in address else '?'}"
        for name in by_turns(sorted(attacker.view("GET", path)), place, 4):  # several views know each name
            text = next(turns)
            status = attacker.status("GET", f"{joined}{name}={text}")
            found += [(path, name, text[:30], status)] if status >= 500 else []
    assert found == []


def test_no_form_breaks_anything(attacker):
    found, turns = [], itertools.cycle(HOSTILE)
    paths = [path for verb, path in ROWS if verb == "POST" and not is_api(path) and path != "/admin/sign-out"]
    for place, path in enumerate(paths):
        address = attacker.address_of("POST", path)
        usual = {name: value.replace("{}", "n") for name, value in SENT.get(f"POST {path}", {}).items()}
        for name in by_turns(sorted(attacker.view("POST", path)), place, 4):
            text = next(turns)
            status = attacker.status("POST", address, usual | {name: unquote(text)})
            found += [(path, name, text[:30], status)] if status >= 500 else []
            if status in (302, 404):  # it was accepted, so its object may be gone
                address = attacker.address_of("POST", path)
    assert found == []
