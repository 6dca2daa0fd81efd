"""What the API and the commands answer from an installation: its events, reports, users and everything else.

Answers that depend on the time of the question are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple
from urllib.parse import urlencode

from flask import Flask

from app.services.people import audit
from app.services.people.principal import SYSTEM
from app.store.database import release
from tests.support.client import Client

ADMIN = "root"
PASSWORD = "correct horse"
COMMANDS = (
    ("events", "count"),
    ("user", "list"),
    ("token", "list"),
    ("key", "list"),
    ("catalog", "list"),
    ("catalog", "export"),
    ("reports", "schedule", "list"),
    ("events", "rejected", "list"),
    ("events", "rejected", "list", "--requests"),
)


def read_answers(app: Flask) -> dict[str, object]:
    """Return every answer by what was asked, as it is after JSON."""
    admin = Client(app, (ADMIN, PASSWORD))
    answers: dict[str, object] = {f"tally {' '.join(words)}": run(app, *words) for words in COMMANDS}
    answers["GET /events"] = list(_items(admin, "/events", "events"))
    jobs = list(_items(admin, "/reports", "reports"))
    answers["GET /reports"] = jobs
    for source in [job["source"] for job in jobs]:
        answers[f"GET /reports/{source}/availability"] = admin.availability(source)
        shown = run(app, "reports", "show", source)
        if shown["status"] == "RUNNING":  # its place in the queue and the time that is left change
            del shown["progress"]
        answers[f"tally reports show {source}"] = shown
    for user in run(app, "user", "list"):
        answer = Client(app, (user["name"], PASSWORD)).get("/service/authenticate")
        answers[f"GET /service/authenticate as {user['name']}"] = answer.get_json()["user"]
    found = _verified(app)
    answers["tally verify"] = {name: found[name] for name in ("events", "hash", "days")}
    entries = audit.page(SYSTEM, audit.AuditFilter(), 1_000).entries
    answers["audit log"] = [astuple(entry) for entry in entries]  # without names, which may change
    release()
    return json.loads(json.dumps(answers))


def keep_known(answer: object, kept: object) -> object:
    """Return an answer without the keys that the kept answer lacks, because later versions may add keys."""
    if isinstance(answer, dict) and isinstance(kept, dict):
        return {key: keep_known(value, kept[key]) for key, value in answer.items() if key in kept}
    if isinstance(answer, list) and isinstance(kept, list) and len(answer) == len(kept):
        return [keep_known(one, other) for one, other in zip(answer, kept, strict=True)]
    return answer


def run(app: Flask, *words: str, **kwargs: object) -> object:
    """Run a command with --json, and return what it prints."""
    result = app.test_cli_runner().invoke(args=[*words, "--json"], **kwargs)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _verified(app: Flask) -> dict[str, object]:
    """Return what `tally verify` prints; it exits with 1 because the report files are not kept."""
    return json.loads(app.test_cli_runner().invoke(args=["verify", "--json"]).stdout)


def _items(client: Client, path: str, name: str) -> Iterator[dict[str, object]]:
    """Yield the items of all pages of a list."""
    after: dict[str, str] = {}
    while True:
        page = client.get(f"{path}?{urlencode({'limit': 50} | after)}").get_json()
        yield from page[name]
        if "next" not in page:
            return
        after = {"after": page["next"]}
