"""The README's commands that install the package, as they are written there, and what they serve."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.install.conftest import ROOT, Installed, installing, readme
from tests.support.client import event
from tests.support.running import Running, wait_until


def test_the_tutorial_installs_as_the_readme_does():
    assert installing(ROOT / "docs" / "tutorial.md") == installing(ROOT / "README.md")


@pytest.mark.processes
def test_what_the_readme_installs_serves_from_an_event_to_a_report(environment: Path):
    """With the wheel and what it declares alone; nothing is written but data and what the user asks for."""
    installed = Installed(environment.parent, environment / "bin")
    service = Running(installed.folder, command=readme()[1].split(), PYTHONPATH="", **installed.environment())
    settings = {"DATA_DIR": str(service.data), "PORT": str(service.port)}
    try:
        service.until_ready()
        assert "Sign in as" in service.said()
        password = re.search("password: (.+)", service.said())[1]
        admin = {"Authorization": f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"}
        body = json.dumps({"events": [event(context=["user-1", "Overview"])]}).encode()
        assert len(_read(service, "/events", body)) == 1
        wanted = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}, "output": {"layout": "positional"}}
        source = _read(service, "/reports", json.dumps(wanted).encode(), admin)["source"]
        status = f"/reports/{source}/availability"
        wait_until(lambda: _read(service, status, headers=admin)["status"] == "COMPLETE", 60)
        assert installed.run("tally", "reports", "download", source, "--output", "report.csv", **settings).stdout
        assert (installed.folder / "report.csv").read_text().endswith("|user-1|Overview\n")
        with urllib.request.urlopen(f"{service.url}/admin/") as page:  # its templates and static files are there
            assert "/static/style.css" in page.read().decode()
        with urllib.request.urlopen(f"{service.url}/static/style.css") as style:
            assert style.status == 200
        with urllib.request.urlopen(f"{service.url}/tally.js") as script:
            assert script.read() == (ROOT / "clients" / "js" / "tally.js").read_bytes()
    finally:
        code = service.stop()
    assert code == 0, service.said()
    assert {path.name for path in installed.folder.iterdir()} == {".venv", "var", "report.csv", "said.txt"}


def _read(service: Running, path: str, body: bytes | None = None, headers: dict[str, str] | None = None):
    given = {"Content-Type": "application/json"} | (headers or {})
    with urllib.request.urlopen(urllib.request.Request(service.url + path, body, given)) as answer:
        return json.load(answer)
