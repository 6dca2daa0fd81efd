"""The whole service as `make run` starts it, once for all of these tests on each database, and Chromium beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.conftest import PASSWORD
from tests.support import servers
from tests.support.running import ROOT, Running

# The last three keep Chromium from calling hosts of its own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Service:
    """The running service; `admin` signs in with PASSWORD."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._settings = settings
        self._running = Running(folder, ADMIN_PASSWORD=PASSWORD, **settings).until_ready()
        self.url = self._running.url

    def stop(self) -> None:
        assert self._running.stop() == 0

    def post(self, *events: dict) -> None:
        """Send events as a product does."""
        body = json.dumps({"events": events}).encode()
        request = urllib.request.Request(f"{self.url}/events", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def refuse(self, *events: object) -> None:
        """Send events of which each is rejected, and wait until they are kept."""
        body = json.dumps(events).encode()
        headers = {"Content-Type": "application/json", "Prefer": "handling=lenient"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/events", body, headers), timeout=10) as answer:
            assert answer.headers["X-Rejected-Events"] == str(len(events))
        time.sleep(0.5)

    def add_analyst(self, name: str, customer: str) -> None:
        """Make somebody who sees one customer only."""
        command = ["user", "add", name, "--role", "analyst", "--customer", customer, "--password-stdin"]
        flask = [sys.executable, "-m", "flask", "--app", "wsgi", *command]
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(self._running.data), **self._settings}
        subprocess.run(flask, cwd=ROOT, env=environment, input=PASSWORD, text=True, check=True)

    @contextlib.contextmanager
    def worker_held(self) -> Iterator[None]:
        """Meanwhile the worker does nothing, so that what is started waits."""
        worker = self._running.pid("worker-1")
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)


@contextlib.contextmanager
def serve(folder: Path, **settings: str) -> Iterator[Service]:
    service = Service(Path(tempfile.mkdtemp(dir=folder)), **settings)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def on_sqlite(short_folder: Path) -> Iterator[Service]:
    with serve(short_folder) as service:
        yield service


@pytest.fixture(scope="session")
def on_postgresql(short_folder: Path, postgres_server: str) -> Iterator[Service]:
    with serve(short_folder, DATABASE_URL=servers.make_database(postgres_server, "browser")) as service:
        yield service


@pytest.fixture
def service(on_sqlite: Service) -> Service:
    """The service on SQLite; whoever wants both databases asks for `either_service`."""
    return on_sqlite


@pytest.fixture(params=["on_sqlite", "on_postgresql"])
def either_service(request) -> Service:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict:
    """Debian's Chromium, headless."""
    return {"executable_path": shutil.which("chromium") or "/usr/bin/chromium", "args": FLAGS}


class Door:
    """Opens pages of a service in a browser, and watches what they do."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(self, service: Service, name: str | None = "admin", **options: object) -> Page:
        """A page at the overview, signed in; name None: at the sign-in form."""
        context = self._browser.new_context(base_url=service.url, **options)
        context.set_default_timeout(10_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto("/admin/")
        if name:
            sign_in(page, name)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def sign_in(page: Page, name: str) -> None:
    """Fill in the form that the page shows."""
    page.get_by_label("User").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    submit(page, "Sign in")


def submit(page: Page, button: str) -> None:
    """Send a form, and wait for the page that answers it."""
    with page.expect_navigation():
        page.get_by_role("button", name=button).click()


@pytest.fixture
def door(browser: Browser) -> Iterator[Door]:
    opened = Door(browser)
    yield opened
    opened.close()
