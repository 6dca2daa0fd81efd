"""The service as `make run` starts it, one instance per database for all browser tests, and Chromium.

Each opened page is watched for console errors, failed responses, and requests to other hosts.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import re
import shutil
import signal
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect

from app.admin.people.people import PROGRAM
from tests.admin.conftest import TOKEN
from tests.conftest import PASSWORD
from tests.support import backing_servers, rows
from tests.support.client import FIRST, event
from tests.support.mail import MailServer, mail_server
from tests.support.receivers import Receiver, receiver
from tests.support.running import Running, wait_until

# the last three keep Chromium from contacting hosts on its own
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# A page in its predecessor's frame costs a fifth less. The first feature is Playwright's choice, which this replaces.
FLAGS += ["--enable-features=CDPScreenshotNewSurface,RenderDocument:level/crashed-frame"]

expect.set_options(timeout=60_000)  # only a failure waits this long

# Speed up time on the pages, so that a part with a two-second refresh refreshes within a third of a second.
HASTE = 6
SAMPLE_CATALOG = resources.files("app").joinpath("catalog.sample.json").read_text()
HURRY = f"""(() => {{
  const began = Date.now(), now = Date.now, every = window.setInterval;
  Date.now = () => began + (now() - began) * {HASTE};
  window.setInterval = (act, milliseconds) => every(act, milliseconds / {HASTE});
}})()"""


class Service:
    """The running service.

    Attributes:
        passwords: the password of each user.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.passwords = {"admin": PASSWORD}
        self._browser = requests.Session()  # the administrator's session, for setup that a test is not about
        self._running = Running(folder, ADMIN_PASSWORD=PASSWORD, **settings).until_ready()
        self.url = self._running.url
        self._send("/admin/sign-in", {"user": "admin", "password": PASSWORD})
        self._send("/admin/catalog/import", {"text": SAMPLE_CATALOG, "import": "y"})

    def stop(self) -> None:
        assert self._running.stop() == 0

    def ask(self, path: str, body: object = None, **headers: str) -> dict | list:
        """Return the API's response to the administrator: to a GET, or with a body to a POST."""
        token = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {token}"} | headers
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def post(self, *events: dict) -> None:
        """Send events as a product does."""
        self.ask("/events", {"events": events})

    def report(self, customer: str, output: dict | None = None) -> str:
        """Start a report about PORTFOLIO, and return its source."""
        wanted = {"filter": {"customer": customer, "product": "PORTFOLIO"}, "output": output or {}}
        return self.ask("/reports", wanted)["source"]

    def complete(self, customer: str) -> str:
        """Complete a report, and return its source."""
        source = self.report(customer)
        wait_until(lambda: self.ask(f"/reports/{source}/availability")["status"] == "COMPLETE", 20)
        return source

    def fill(self, customer: str, count: int) -> None:
        """Insert many events into the SQLite database at once."""
        self.post(event(customer=customer))  # so that the customer is known
        statement = rows.SQLITE.format(item=rows.ITEM).replace("BARCHART", customer)
        with self._database() as connection, connection:
            connection.execute(statement, (count, rows.TYPE, FIRST, FIRST))

    def refuse(self, *events: object) -> None:
        """Send invalid events, and wait until they are in the SQLite database."""
        before = self._found("SELECT count(*) FROM rejected_event")
        stored = self.ask("/events", events, Prefer="handling=lenient")
        assert stored == []
        wait_until(lambda: self._found("SELECT count(*) FROM rejected_event") == before + len(events), 10)

    def refuse_whole(self, *events: object) -> None:
        """Send a request that is refused because of some events, and wait until it is in the SQLite database."""
        before = self._found("SELECT count(*) FROM rejected_request")
        with contextlib.suppress(urllib.error.HTTPError):
            self.ask("/events", events)
        wait_until(lambda: self._found("SELECT count(*) FROM rejected_request") == before + 1, 10)

    def await_counts(self) -> None:
        """Wait until the hourly counts in SQLite include every event."""
        wait_until(lambda: self._found("SELECT up_to >= (SELECT max(id) FROM event) FROM counted"), 20)

    def add_analyst(self, name: str, customer: str) -> None:
        """Add a user who may see a single customer, as an administrator does."""
        fields = {"name": name, "kind": PROGRAM, "role": "analyst", "customers": customer}
        page = self._send("/admin/people/new", fields)
        self.passwords[name] = html.unescape(re.search(r'id="password"[^>]*>([^<]+)<', page)[1])

    def add_alert(self, code: str, *, firing: bool) -> None:
        """Insert an alert about a product, firing or resolved. Its rule does not exist, so nothing changes it soon."""
        now = time.time_ns() // 1_000_000
        times = dict.fromkeys(("since_at", "pending_at", "firing_at"), now - 7200000) | {"checked_at": now}
        about = {"rule": 1, "rule_name": code, "kind": "stopped", "customer": "", "product": code, "type": ""}
        about |= {"subject": "", "title": "Events stopped", "seen": f"No event of {code}.", "expected": "One a minute."}
        state = {"state": "firing"} if firing else {"state": "resolved", "resolved_at": now}
        self._insert("alert", about | times | state | {"details": "{}"})

    def add_alert_message(self, code: str) -> None:
        """Insert a message to the newest channel, which refused it at length."""
        now = time.time_ns() // 1_000_000
        values = {"channel": self._found("SELECT max(id) FROM alert_channel"), "state": "given_up", "tries": 11}
        data = {"rule": 1, "subject": f"Firing: {code}", "text": ""}
        values |= {"key": code, "type": "alert.firing", "data": json.dumps(data), "created_at": now}
        self._insert("delivery", values)
        tried = {"delivery": self._found("SELECT max(id) FROM delivery"), "began_at": now, "took_ms": 9}
        self._insert("delivery_try", tried | {"said": f"{code} answered 500. {code}"})

    def _insert(self, table: str, values: dict[str, object]) -> None:
        places = ", ".join("?" * len(values))
        with self._database() as connection, connection:
            connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", [*values.values()])

    def _send(self, path: str, fields: dict[str, str]) -> str:
        """Fill in and send a form, and return the resulting page."""
        token = TOKEN.search(self._browser.get(self.url + path, timeout=60).text)[1]
        answer = self._browser.post(self.url + path, fields | {"csrf_token": token}, timeout=60)
        answer.raise_for_status()
        return answer.text

    @contextlib.contextmanager
    def _database(self, timeout: float = 30) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._running.data / "events.db", timeout=timeout)) as connection:
            yield connection

    def _found(self, statement: str) -> int:
        with self._database() as connection:
            return connection.execute(statement).fetchone()[0]

    @property
    def data(self) -> Path:
        """Return the folder of the database."""
        return self._running.data

    @contextlib.contextmanager
    def scheduler_held(self) -> Iterator[None]:
        """Suspend the scheduler within the context, while it has no transaction open."""
        scheduler = self._running.pid("scheduler")

        def is_held() -> bool:
            os.kill(scheduler, signal.SIGSTOP)
            if self._can_write():
                return True
            os.kill(scheduler, signal.SIGCONT)
            return False

        wait_until(is_held, 20)
        try:
            yield
        finally:
            os.kill(scheduler, signal.SIGCONT)

    @contextlib.contextmanager
    def worker_held(self) -> Iterator[None]:
        """Suspend the worker within the context, so that new reports wait."""
        worker = self._running.pid("worker-1")
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    @contextlib.contextmanager
    def writer_held(self, source: str) -> Iterator[None]:
        """Suspend the process that writes a report within the context, while the report is in progress."""
        held: list[int] = []

        def is_in_the_midst() -> bool:
            for child in held:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGCONT)
                time.sleep(0.05)
            held[:] = [child] if (child := self._running.child("worker-1")) else []
            for child in held:
                os.kill(child, signal.SIGSTOP)
            progress = self.ask(f"/reports/{source}/progress")
            assert "file" not in progress, "it was over too soon"
            return progress.get("percent", 0) > 0 and self._can_write()

        wait_until(is_in_the_midst, 20)
        try:
            yield
        finally:
            os.kill(held[0], signal.SIGCONT)

    def _can_write(self) -> bool:
        """Return whether SQLite accepts writes, which it does not if a process was suspended in a transaction."""
        with self._database(timeout=0.1) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def await_writer(self) -> None:
        """Wait until no report is being written."""
        wait_until(lambda: not self._running.child("worker-1"), 10)

    def files(self, source: str) -> list[str]:
        """Return the files of a report on disk."""
        job = source.removeprefix("JOB-")
        return [str(path) for path in self._running.data.rglob("*") if job in path.name]


@contextlib.contextmanager
def serve(folder: Path, **settings: str) -> Iterator[Service]:
    service = Service(Path(tempfile.mkdtemp(dir=folder)), **settings)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def webhook_receiver() -> Iterator[Receiver]:
    """Return a server that webhooks may be sent to."""
    with receiver() as receives:
        yield receives


@pytest.fixture(scope="session")
def mail_receiver() -> Iterator[MailServer]:
    """Return the mail server of the service on SQLite."""
    with mail_server() as receives:
        yield receives


@pytest.fixture(scope="session")
def on_sqlite(short_folder: Path, webhook_receiver: Receiver, mail_receiver: MailServer) -> Iterator[Service]:
    own = {"WEBHOOK_HOSTS": webhook_receiver.url, "ALERT_HOSTS": webhook_receiver.url}
    own |= {"SMTP_URL": mail_receiver.url, "MAIL_FROM": "tally@example.com"}
    with serve(short_folder, **own) as service:
        yield service


@pytest.fixture(scope="session")
def on_postgresql(short_folder: Path, postgres_server: str) -> Iterator[Service]:
    with serve(short_folder, DATABASE_URL=backing_servers.make_database(postgres_server, "browser")) as service:
        yield service


@pytest.fixture
def service(on_sqlite: Service) -> Service:
    """Return the service on SQLite. Use `either_service` for both databases."""
    return on_sqlite


@pytest.fixture(params=["on_sqlite", "on_postgresql"])
def either_service(request) -> Service:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict:
    """Use Debian's Chromium, preferably the one without windows, where a new context costs a fifth."""
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    return {"executable_path": chromium, "args": FLAGS}


class PageOpener:
    """Opens pages of a service in a browser, and watches them.

    Attributes:
        complaints: console messages, and parts of pages that were not answered with success.
        requests: every requested address.
        strays: requested addresses of other hosts.
    """

    def __init__(self, browser: Browser, sessions: dict[tuple[str, str], dict]) -> None:
        self._browser = browser
        self._sessions = sessions
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.strays: list[str] = []

    def open(
        self,
        service: Service,
        name: str | None = "admin",
        *,
        at: str = "/admin/",
        hurried: bool = False,
        **options: object,
    ) -> Page:
        """Open a page as a user, or the sign-in form if `name` is None. With `hurried` it refreshes faster."""
        session = self._sessions.get((service.url, name))
        context = self._browser.new_context(
            base_url=service.url, storage_state=session, reduced_motion="reduce", **options
        )
        self._contexts.append(context)
        context.set_default_timeout(60_000)
        if hurried:
            context.add_init_script(HURRY)
        page = context.new_page()
        self._watch(page, service.url)
        page.goto(at)
        if name and session is None:
            sign_in(page, name, service.passwords[name])
            self._sessions[service.url, name] = context.storage_state()
        return page

    def forget(self, service: Service, name: str = "admin") -> None:
        """Sign in again next time, because the session is about to end."""
        self._sessions.pop((service.url, name), None)

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _watch(self, page: Page, url: str) -> None:
        def hear(said: ConsoleMessage) -> None:
            if said.type in ("error", "warning") and not said.text.startswith("Failed to load resource"):
                self.complaints.append(said.text)

        def look(answer: Response) -> None:
            if answer.status >= 400 and not answer.request.is_navigation_request():
                self.complaints.append(f"{answer.status} {answer.url}")

        def follow(asked: str) -> None:
            self.requests.append(asked)
            if not asked.startswith((url, "data:")):
                self.strays.append(asked)

        page.on("console", hear)
        page.on("response", look)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: follow(request.url))


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill in and send the sign-in form that the page shows."""
    page.get_by_label("User").fill(name)
    page.get_by_label("Password").fill(password)
    submit(page, "Sign in")


def submit(page: Page, button: str) -> None:
    """Send a form, and wait for the resulting page."""
    with page.expect_navigation():
        page.get_by_role("button", name=button).click()


def open_filter(page: Page) -> None:
    """Unfold the filter of a list, which shows a line about it."""
    page.locator(".filters > details > summary").click()


@pytest.fixture(scope="session")
def sessions() -> dict[tuple[str, str], dict]:
    """Cookies of the users who have signed in, so that each test need not sign in."""
    return {}


@pytest.fixture
def opener(browser: Browser, sessions: dict) -> Iterator[PageOpener]:
    """Open pages, and check at the end that there were no complaints and no requests to other hosts."""
    opened = PageOpener(browser, sessions)
    yield opened
    opened.close()
    assert (opened.complaints, opened.strays) == ([], [])
