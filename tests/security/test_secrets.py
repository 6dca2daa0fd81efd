"""What opens a door stands nowhere but where it must: not in a log, an error, a job in Redis, or a file of ours."""

from __future__ import annotations

import base64
import json
import re
import tempfile
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.admin.conftest import TOKEN
from tests.support.running import Running, wait_until

pytestmark = pytest.mark.processes

PASSWORD, WRONG, NEW = "the first password", "a wrong password", "the second password"
KEY = re.compile(r"tally_[A-Za-z0-9_-]{43}")


class Person:
    """Somebody at the running service, with a browser's cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, path: str, data: dict | bytes | None = None, **headers: str) -> str:
        """The answer's text, whatever its status."""
        body = urlencode(data).encode() if isinstance(data, dict) else data
        request = urllib.request.Request(self.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with self._opener.open(request, timeout=20) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def send(self, path: str, **fields: str) -> str:
        """Fill in a form."""
        return self.ask(path, fields | {"csrf_token": TOKEN.search(self.ask(path))[1]})


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"


def post(person: Person, path: str, value: object, **headers: str) -> str:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return person.ask(path, body, Content_Type="application/json", **headers)


def everything(person: Person, data: Path) -> dict[str, str]:
    """Do all that secrets are for, rightly and wrongly; the secrets, by what they are."""
    event = {"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 1, "context": []}
    person.send("/admin/sign-in", user="admin", password=WRONG)
    person.send("/admin/sign-in", user=WRONG, password=PASSWORD)
    person.send("/admin/sign-in", user="admin", password=PASSWORD)
    key = KEY.search(person.send("/admin/keys/new", name="web"))[0]
    for headers in ({"Authorization": f"Bearer {key}"}, {"Authorization": f"Bearer {key}x"}):
        post(person, "/events", [event], **headers)
    post(person, f"/events?key={key}", [event | {"timestamp": "no time"}])
    post(person, f"/events?key={key}", b"{")
    for password in (PASSWORD, WRONG):
        person.ask("/service/authenticate", Authorization=basic(password))
    job = json.loads(
        post(
            person,
            "/reports",
            {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}},
            Authorization=basic(PASSWORD),
        )
    )
    asked = {"Authorization": basic(PASSWORD), "Accept": "application/json"}
    wait_until(lambda: "COMPLETE" in person.ask(f"/reports/{job['source']}/availability", **asked), 30)
    link = json.loads(person.ask(f"/reports/{job['source']}", **asked))["link"].removeprefix(person.url)
    signature = link.partition("signature=")[2]
    assert "T" in person.ask(link)
    person.ask(link.replace("expires=1", "expires=2"))
    person.ask(link + "x")
    given = re.search(
        r'id="password"[^>]*>([^<]+)<', person.send("/admin/people/new", name="olga", role="operator", kind="person")
    )[1]
    person.send("/admin/me/password", old=WRONG, new=NEW)
    person.send("/admin/me/password", old=PASSWORD, new=NEW)
    cookies = {f"cookie {one.name}": one.value for one in person.jar}
    secret = (data / "secret.key").read_text().strip()
    return cookies | {
        "password": PASSWORD,
        "wrong password": WRONG,
        "new password": NEW,
        "given password": given,
        "key": key,
        "signature": signature,
        "secret key": secret,
        "basic": basic(PASSWORD)[6:],
    }


@pytest.fixture(scope="module", params=["text", "json"])
def told(request, short_folder: Path) -> tuple[Running, dict[str, str], str]:
    """A service that ran and was stopped; the secrets that were used; what stands on its terminal."""
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    service = Running(folder, ADMIN_PASSWORD=PASSWORD, INGEST_AUTH="key", LOG_FORMAT=request.param).until_ready()
    try:
        secrets = everything(Person(service.url), service.data)
    finally:
        assert service.stop() == 0
    # The contract has it told on the very first start, and there alone.
    said = service.said().replace(f"    password: {PASSWORD}", "", 1)
    return service, secrets, said


def test_no_secret_stands_in_a_log(told):
    _, secrets, said = told
    assert "rejected" in said or "added" in said  # it did log
    assert [name for name, secret in secrets.items() if secret in said] == []


def test_no_secret_stands_in_a_file_but_the_one_that_keeps_the_secret_key(told):
    service, secrets, _ = told
    files = [path for path in service.data.rglob("*") if path.is_file()]
    assert {"events.db", "secret.key"} <= {path.name for path in files}
    assert any(path.name.endswith(".aof") for path in files)  # what was in Redis
    found = [
        (path.name, name) for path in files for name, secret in secrets.items() if secret.encode() in path.read_bytes()
    ]
    assert found == [("secret.key", "secret key")]


def test_files_that_keep_secrets_are_the_owners_alone(told):
    service, _, _ = told
    for name in ("secret.key", "events.db", "valkey", "run"):
        assert (service.data / name).stat().st_mode & 0o077 == 0, name
