"""Secrets appear only where they must: not in logs, errors, Redis jobs, or files of the service."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import redis as redis_py

from tests.admin.conftest import TOKEN
from tests.support import backing_servers, forked
from tests.support.pace import SOAK
from tests.support.running import Running, wait_until

pytestmark = pytest.mark.processes

SERVERS = ("database", "redis", "s3", "signing key", "mail", "identity provider", "channel")
PASSWORD, WRONG, NEW = "the first password", "a wrong password", "the second password"
TELLING = ("/admin/", "/admin/system", "/admin/system/settings", "/admin/audit", "/metrics", "/health/ready")
API_TOKEN = re.compile(r"tly_[A-Za-z0-9]{49}")
KEY = re.compile(r"tally_[A-Za-z0-9_-]{43}")


class Person:
    """A user of the running service, with a browser's cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, path: str, data: dict | bytes | None = None, **headers: str) -> str:
        """Return the text of the response, whatever its status."""
        body = urlencode(data).encode() if isinstance(data, dict) else data
        request = urllib.request.Request(self.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with self._opener.open(request, timeout=20) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def send(self, path: str, **fields: str) -> str:
        """Fill in and send a form."""
        return self.ask(path, fields | {"csrf_token": TOKEN.search(self.ask(path))[1]})


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"


def post(person: Person, path: str, value: object, **headers: str) -> str:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return person.ask(path, body, Content_Type="application/json", **headers)


def everything(person: Person, data: Path) -> dict[str, str]:
    """Use every secret, rightly and wrongly, and return them by name."""
    event = {"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 1, "context": []}
    person.send("/admin/sign-in", user="admin", password=WRONG)
    person.send("/admin/sign-in", user=WRONG, password=PASSWORD)
    person.send("/admin/sign-in", user="admin", password=PASSWORD)
    key = KEY.search(person.send("/admin/keys/new", name="web"))[0]
    token = API_TOKEN.search(person.send("/admin/me/tokens/new", name="notebook", scopes="events:read", days="90"))[0]
    for sent in (token, token[:-1]):
        person.ask("/events", Authorization=f"Bearer {sent}")
        person.ask("/metrics", Authorization=basic(sent))
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
    key_file = data / "secret.key"
    secret = {"secret key": key_file.read_text().strip()} if key_file.exists() else {}
    return (
        cookies
        | secret
        | {
            "password": PASSWORD,
            "wrong password": WRONG,
            "new password": NEW,
            "given password": given,
            "key": key,
            "API token": token,
            "signature": signature,
            "basic": basic(PASSWORD)[6:],
        }
    )


@dataclass
class ServiceOutput:
    """Output of a service that run_and_stop and was stopped.

    Attributes:
        secrets: the secrets that were used, by name.
        said: its output on the terminal.
        pages: the pages about the installation that an administrator saw.
    """

    service: Running
    secrets: dict[str, str]
    said: str
    pages: str


@pytest.fixture(scope="module")
def alone(short_folder: Path) -> ServiceOutput:
    """A service with its own database and Valkey."""
    service = Running(Path(tempfile.mkdtemp(dir=short_folder)), ADMIN_PASSWORD=PASSWORD, INGEST_AUTH="key")
    return run_and_stop(service)


@pytest.fixture(scope="module")
def with_servers(short_folder: Path, postgres_server: str) -> ServiceOutput:
    """A service with password-protected servers, one of which becomes unavailable; it logs requests, and in JSON."""
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    passwords = {name: f"hush-{secrets.token_hex(12)}" for name in SERVERS}
    with backing_servers.valkey(folder, passwords["redis"]) as redis_url:
        service = Running(
            folder,
            ADMIN_PASSWORD=PASSWORD,
            INGEST_AUTH="key",
            LOG_FORMAT="json",
            ACCESS_LOG="on",
            SECRET_KEY=passwords["signing key"],
            DATABASE_URL=with_password(
                backing_servers.make_database(postgres_server, "secrets"), passwords["database"]
            ),
            REDIS_URL=redis_url,
            AWS_ACCESS_KEY_ID="tally",
            AWS_SECRET_ACCESS_KEY=passwords["s3"],
            WEBHOOK_HOSTS="http://127.0.0.1:9",
            ALERT_HOSTS="127.0.0.1:9",
            WEB_PROCESSES="1",
            SMTP_URL=f"smtp://tally:{passwords['mail']}@127.0.0.1:9",
            MAIL_FROM="tally@example.com",
            OIDC_ISSUER="http://127.0.0.1:9",
            OIDC_CLIENT_ID="tally",
            OIDC_CLIENT_SECRET=passwords["identity provider"],
            OIDC_ROLES="staff=operator",
        )
        return run_and_stop(service, passwords, away=lambda: redis_py.Redis.from_url(redis_url).shutdown(nosave=True))


def with_password(url: str, password: str) -> str:
    """Return a URL of the tests' PostgreSQL, which accepts any password, with a password as others would have."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"postgres:{password}@").geturl()


def run_and_stop(
    service: Running, passwords: dict[str, str] | None = None, away: Callable[[], object] | None = None
) -> ServiceOutput:
    """Let a service use every secret, then some of them again while something is unavailable, and stop it."""
    passwords = passwords or {}
    service.until_ready()
    person = Person(service.url)
    try:
        used = everything(person, service.data) | passwords
        pages = "".join(person.ask(path) for path in TELLING)
        if passwords:
            used["webhook secret"] = webhook_secret(person)
            used |= try_what_is_away(person, passwords["channel"])
        if away:
            away()
            person.send("/admin/sign-in", user="admin", password=WRONG)
            pages += "".join(person.ask(path) for path in TELLING)
    finally:
        assert service.stop() == 0
    return ServiceOutput(service, used, service.said(), pages)


def webhook_secret(person: Person) -> str:
    """Create a webhook secret, and try a webhook that nobody receives."""
    fields = {"customer": "BARCHART", "product": "PORTFOLIO", "name": "daily", "recurrence": "daily", "hour": "6"}
    url = "http://127.0.0.1:9/a-path-that-opens"
    page = person.send("/admin/reports/recurring/new", **fields, mode="period", webhook=url)
    secret = re.search(r"whsec_[\w+/=]+", page)[0]
    key = re.search(r"/admin/reports/recurring/(\d+)", page)[0]
    token = TOKEN.search(person.ask(key))[1]
    person.ask(f"{key}/run", {"csrf_token": token})
    wait_until(lambda: "cannot be reached" in person.ask(key), 40)
    return secret


def try_what_is_away(person: Person, secret: str) -> dict[str, str]:
    """Send mail and an alert, sign in by the provider, none of which answers, and return a second factor's secret."""
    person.send("/admin/people/1", role="admin", customers="", mail="admin@example.com")
    url = f"json://tally:{secret}@127.0.0.1:9/{secret}"
    assert "is added" in person.send("/admin/alerts/channels/new", name="chat", kind="url", active="y", url=url)
    token = TOKEN.search(person.ask("/admin/alerts/channels/1"))[1]
    assert "The test message is not sent." in person.ask("/admin/alerts/channels/1/test", {"csrf_token": token})
    assert "Not sent." in person.ask("/admin/system/mail", {"csrf_token": token})
    assert "does not answer" in Person(person.url).ask("/admin/oidc/sign-in")
    page = person.ask("/admin/me/second-factor")
    person.send("/admin/me/second-factor", code="000000", password=NEW)
    shown = re.search(r'id="secret"[^>]*>([A-Z2-7 ]+)<', page)[1]
    return {"second factor": shown.replace(" ", ""), "second factor in groups": shown}


@pytest.fixture(params=["alone", "with_servers"] if SOAK else ["with_servers"])  # the one with more secrets
def output(request) -> ServiceOutput:
    return request.getfixturevalue(request.param)


def test_no_secret_is_logged(output):
    assert "ingest key added" in output.said  # the action was logged
    assert [name for name, secret in output.secrets.items() if secret in output.said] == []
    assert "a-path-that-opens" not in output.said


def test_with_json_every_line_of_every_program_is_json(with_servers):
    lines = with_servers.said.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if not isinstance(json.loads(line), dict)] == []


def test_every_request_is_in_the_access_log(with_servers):
    lines = [json.loads(line) for line in with_servers.said.splitlines() if '"request served"' in line]
    served = {(line["method"], line["path"], line["status"], line["caller"].partition(" ")[0]) for line in lines}
    assert {("POST", "/events", 200, "key"), ("GET", "/admin/me", 200, "user")} <= served
    assert all(line["milliseconds"] >= 0 and line["address"] == "127.0.0.1" for line in lines)


def test_no_secret_is_on_a_page_about_the_installation(output):
    assert "SECRET_KEY" in output.pages
    shown = output.secrets | {"wrong password as a name": WRONG}
    assert [name for name, secret in shown.items() if secret in output.pages] == []


def test_an_unavailable_server_is_named_without_its_password(with_servers):
    assert "as Redis is away" in with_servers.said
    assert "••••••••" in with_servers.pages


def test_no_secret_is_in_a_file_except_that_of_the_secret_key(output):
    files = [path for path in output.service.data.rglob("*") if path.is_file()]
    found = [
        (path.name, name)
        for path in files
        for name, secret in output.secrets.items()
        if secret.encode() in path.read_bytes()
    ]
    is_alone = "secret key" in output.secrets
    assert found == ([("secret.key", "secret key")] if is_alone else [])
    if is_alone:
        assert {"events.db", "secret.key"} <= {path.name for path in files}
        assert any(path.name.endswith(".aof") for path in files)  # the contents of Redis


def test_a_failing_command_gives_the_reason_without_a_password(tmp_path):
    """Nothing listens on port 9, so the driver's message is on the terminal."""
    url = "postgresql://tally:hush-hush@127.0.0.1:9/tally"
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "DATABASE_URL": url}
    ended = forked.tally("user", "list", folder=tmp_path, environment=environment)
    assert ended.returncode != 0
    assert "database" in (ended.stdout + ended.stderr).lower()
    assert "hush" not in ended.stdout + ended.stderr
