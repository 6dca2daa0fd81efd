"""The service in real processes, started as `make run` starts it, and an HTTP client."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.client import event
from tests.support.running import Running, wait_until

ADMIN = ("admin", "correct horse battery")


class Visitor:
    """Client of a running service, such as an SDK or an analyst's script."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self._session = requests.Session()

    def get(self, path: str, **kwargs: object) -> requests.Response:
        url = path if path.startswith("http") else self.service.url + path
        return self._session.get(url, timeout=30, **kwargs)

    def post(self, path: str, **kwargs: object) -> requests.Response:
        return self._session.post(self.service.url + path, timeout=30, **kwargs)

    def start_report(self, customer: str, product: str, **output: object) -> dict:
        """Start a report, and return its job."""
        wanted = {"filter": {"customer": customer, "product": product}, "output": output}
        answer = self.post("/reports", json=wanted, auth=ADMIN)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def availability(self, job: dict) -> dict:
        return self.get(f"/reports/{job['source']}/availability", auth=ADMIN).json()

    def until_ended(self, job: dict, seconds: float = 60) -> dict:
        """Poll as SDKs do until a report has ended, and return its job."""
        wait_until(lambda: self.availability(job)["status"] != "RUNNING", seconds)
        return self.availability(job)

    def progress(self, job: dict) -> dict:
        return self.get(f"/reports/{job['source']}/progress", auth=ADMIN).json()

    def link(self, job: dict) -> str:
        headers = {"Accept": "application/json"}
        return self.get(f"/reports/{job['source']}", auth=ADMIN, headers=headers).json()["link"]


def large_report(visitor: Visitor, events: int) -> tuple[dict, bytes]:
    """Return a complete report with this many rows of 4 KB, and the content of its file."""
    made = [event(customer="LARGE", context=["x" * 4000], timestamp=number) for number in range(events)]
    for first in range(0, events, 2000):
        assert visitor.post("/events", json={"events": made[first : first + 2000]}).status_code == 200
    job = visitor.start_report("LARGE", "PORTFOLIO", layout="positional")
    assert visitor.until_ended(job)["status"] == "COMPLETE"
    return job, "".join(f"{number}|{one['type']}|{'x' * 4000}\n" for number, one in enumerate(made)).encode()


@pytest.fixture(scope="package")
def shared_service(short_folder: Path) -> Iterator[Running]:
    """A service on SQLite for all tests that need no other settings, each with customers of its own."""
    service = Running(Path(tempfile.mkdtemp(dir=short_folder)), idle=["scheduler"], ADMIN_PASSWORD=ADMIN[1])
    yield service.until_ready()
    assert service.stop() == 0
    assert service.left() == {}


@pytest.fixture
def start(short_folder: Path) -> Iterator[Callable[..., Visitor]]:
    """A function that starts the service with further options of `Running`."""
    started = []

    def run(**options: Any) -> Visitor:  # noqa: ANN401
        folder = Path(tempfile.mkdtemp(dir=short_folder))
        started.append(Running(folder, ADMIN_PASSWORD=ADMIN[1], **options))
        return Visitor(started[-1].until_ready())

    yield run
    for service in started:
        if not service.ended():
            assert service.stop() == 0
