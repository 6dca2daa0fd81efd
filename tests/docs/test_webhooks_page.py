"""The examples of docs/webhooks.md verify a signature that Tally makes."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from app.services.notifications import signatures
from tests.support.running import ROOT

PAGE = (ROOT / "docs" / "webhooks.md").read_text()
TEMPLATE = ROOT / "templates" / "admin" / "notifications" / "webhook_secret.html"
SECRET, OTHER = (signatures.as_text(signatures.PREFIX, bytes([number] * 32)) for number in (1, 2))
BODY = b'{"type":"report.completed","data":{}}'


def block(language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]


def headers(secrets: list[str], seconds: int) -> dict[str, str]:
    return signatures.headers(secrets, "6a0c5b7e-6f5e-4f0e-9c52-6b8a4b1f4a11", seconds, BODY)


@pytest.fixture
def is_from_tally():
    scope: dict[str, object] = {}
    exec(block("python"), scope)  # noqa: S102
    return scope["is_from_tally"]


def test_the_python_function_accepts_each_signature_and_nothing_else(is_from_tally):
    now = int(time.time())
    for secret in (SECRET, OTHER):
        assert is_from_tally(headers([OTHER, SECRET], now), BODY, secret)
    assert not is_from_tally(headers([OTHER], now), BODY, SECRET)
    assert not is_from_tally(headers([SECRET], now), BODY + b" ", SECRET)
    assert not is_from_tally(headers([SECRET], now - 301), BODY, SECRET)


def test_the_shell_commands_print_the_signature(tmp_path: Path):
    sent = headers([SECRET], 1_795_500_000)
    (tmp_path / "body").write_bytes(BODY)
    given = {"SECRET": SECRET, "WEBHOOK_ID": sent["webhook-id"], "WEBHOOK_TIMESTAMP": sent["webhook-timestamp"]}
    run = subprocess.run(
        ["sh", "-euc", block("sh")], cwd=tmp_path, env=os.environ | given, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == sent["webhook-signature"]


def test_the_dashboard_shows_the_same_function():
    shown = TEMPLATE.read_text().replace("&lt;", "<")
    assert block("python").strip() in shown
