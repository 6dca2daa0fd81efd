"""A client of the API that calls the application by WSGI."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from werkzeug.test import TestResponse

from app.support.paths import is_api

FIRST = 1_793_000_000_000


def event(**changes: object) -> dict[str, object]:
    """Return a valid event with changes. A value of None removes the key."""
    whole = {
        "customer": "BARCHART",
        "product": "PORTFOLIO",
        "type": "PORTFOLIO-APPLICATION-LOADED",
        "timestamp": FIRST,
        "context": ["user-1", "Overview"],
    } | changes
    return {key: value for key, value in whole.items() if value is not None}


class Client:
    """Sends requests with the same credentials each time."""

    def __init__(self, app, credentials: tuple[str, str] | None) -> None:
        self.app = app
        self.flask_client = app.test_client()
        self._headers = {}
        if credentials:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def request(self, method: str, path: str, *, headers: dict | None = None, **kwargs: object) -> TestResponse:
        answer = self.flask_client.open(path, method=method, headers={**self._headers, **(headers or {})}, **kwargs)
        check_content_type(path, answer)
        return answer

    def get(self, path: str, **kwargs: object) -> TestResponse:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, body: object, content_type: str = "application/json", **kwargs: object) -> TestResponse:
        """POST bytes unchanged, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data=data, content_type=content_type, **kwargs)

    def send(self, *events: dict) -> list[dict]:
        """POST events that must be accepted, and return them as stored."""
        answer = self.post("/events", {"events": list(events)})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def start_report(self, output: dict | None = None, **filter: object) -> dict:
        """Start a report that must be accepted, and return its job. A value of None removes the key."""
        filter = {"customer": "BARCHART", "product": "PORTFOLIO"} | filter
        wanted = {"filter": {name: value for name, value in filter.items() if value is not None}}
        answer = self.post("/reports", wanted if output is None else wanted | {"output": output})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def run_report(self, output: dict | None = None, **filter: object) -> tuple[dict, bytes]:
        """Start a report, run the worker's code in this process, and return the job and the file fetched by its
        link.
        """
        job = self.start_report(output, **filter)
        self.app.extensions["services"].runner.run(job["job"])
        return self.availability(job["source"]), self.download(job["source"])

    def availability(self, source: str) -> dict:
        return self.get(f"/reports/{source}/availability").get_json()

    def download(self, source: str) -> bytes:
        link = self.get(f"/reports/{source}", headers={"Accept": "application/json"}).get_json()["link"]
        answer = self.flask_client.get(link.removeprefix("https://tally.example"))
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_data()


def check_content_type(path: str, answer: TestResponse) -> None:
    """Check that JSON is sent as exactly `application/json`, and that every error of the API is JSON."""
    if "/files/" in path and answer.status_code < 400:
        return  # which has the type of the report
    given = answer.headers.get("Content-Type", "")
    is_error = answer.status_code >= 400 and is_api(path.partition("?")[0])
    if is_error or "json" in given or answer.get_data()[:1] in (b"{", b"["):
        assert given == "application/json", f"{path} answered {answer.status_code} as {given!r}"


def faults(answer: TestResponse) -> list[tuple[str, str]]:
    """Return the (code, message) of each child of an error."""
    return [(child["value"]["code"], child["value"]["message"]) for child in answer.get_json()[0]["children"]]


def root(answer: TestResponse) -> str:
    """Return the root code of an error."""
    return answer.get_json()[0]["value"]["code"]


def keys(value: object) -> Sequence[str]:
    """Return the keys of a JSON object in order."""
    return list(value)
