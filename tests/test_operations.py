"""docs/operations.md has whatever the service says when something is wrong, with cause and cure."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.redis.queue import FOREIGN, PROBLEMS
from app.services.operations import health
from app.store.backends import availability

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text()
SAID = re.compile(r"\*([^*]+)\*")
ANY = "…"
LEVELS = {"warning": "warning", "error": "error", "exception": "error"}

HEALTH = "Messages of /health/ready and the dashboard"
REASONS = "Why a report has no file"
WARNINGS = "Warnings on other pages"
LOG = "Lines of the log"
# Whose sentences are reasons for which a report has no file.
TELL_REASONS = (
    "app/storage/s3",
    "app/storage/local.py",
    "app/services/reports/cleanup.py",
    "app/services/reports/runner.py",
    "app/services/reports/attempt.py",
)
# Reasons that others put together: the database's, the health's, whoever cancels, and any fault of ours.
OTHERS = {
    "The database cannot be reached: …",
    "The storage of report files does not answer.",
    "Cancelled by ….",
    "SomeError: …",
}


def section(title: str) -> str:
    return re.search(rf"^## {re.escape(title)}$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1]


def rows(title: str) -> list[tuple[str, ...]]:
    """The tables' rows, as the text of their cells."""
    lines = [line for line in section(title).splitlines() if line.startswith("| *")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def told(title: str) -> set[str]:
    """What stands in italics in the first cells."""
    return {text for row in rows(title) for text in SAID.findall(row[0])}


def fits(pattern: str, text: str) -> bool:
    """Whether a text of the page, in which … stands for anything, is that of the service."""
    return re.fullmatch(".*".join(re.escape(piece) for piece in pattern.split(ANY)), text, re.DOTALL) is not None


def check(title: str, said: set[str], others: set[str] = frozenset()) -> None:
    """Fail unless everything said is on the page, and everything on the page is said."""
    patterns = told(title)
    assert not {text for text in said if not any(agree(pattern, text) for pattern in patterns)}, "not on the page"
    left = {pattern for pattern in patterns - others if not any(agree(pattern, text) for text in said)}
    assert not left, "nobody says that any more"


def agree(one: str, other: str) -> bool:
    return fits(one, other) or fits(other, one)


def modules(*below: str) -> Iterator[Path]:
    for name in below:
        path = ROOT / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def text_of(node: ast.AST) -> str | None:
    """A literal's text, with … for what is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or ANY for part in node.values)
    return None


def literals(path: Path) -> Iterator[str]:
    """A module's texts, those of formatted ones whole, its docstrings left out."""
    tree = ast.parse(path.read_text())
    pieces = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    notes = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node not in pieces | notes and (text := text_of(node)):
            yield text


def is_sentence(text: str) -> bool:
    return re.fullmatch(rf"[A-Z{ANY}].*[a-z].* .*[.{ANY}]", text) is not None


SAMPLES = [
    health.AWAY.format(reason=health.SILENT),
    health.SPOOLING.format(reason="The database cannot be reached: connection refused"),
    health.AWAY.format(reason="The database cannot be reached: connection refused"),
    health.AWAY.format(reason="No database connection came free in time."),
    *(
        health.AWAY.format(reason=f"{problem}: as the driver says.")
        for problem in {*availability.POSTGRES.values(), *availability.SQLITE.values()}
    ),
    health.UNMIGRATED.format(first="0001_initial"),
    *(health.NO_REDIS.format(reason=f"Redis {what}: as it says.") for what in PROBLEMS.values()),
    health.NO_REDIS.format(reason="Redis cannot be reached."),
    health.NO_REDIS.format(reason=f"{FOREIGN}: it is no number."),
    health.NO_WORKER,
    health.UNKNOWN.format(program="worker"),
    health.UNKNOWN.format(program="scheduler"),
    health.NO_SCHEDULER.format(since=""),
    health.NO_SCHEDULER.format(since=" for 2 minutes"),
    health.NO_STORAGE.format(reason="The S3 store cannot be reached."),
    health.FULL.format(folder="/var/lib/tally", megabytes=17),
    health.NO_SPOOL.format(reason="No space left on device"),
    health.SPOOLED.format(events=17),
]


def test_every_message_about_health_is_explained():
    check(HEALTH, set(SAMPLES))


@pytest.mark.parametrize("message", health.MESSAGES)
def test_no_message_about_health_is_without_a_sample(message):
    pattern = re.sub(r"\{\w+\}", ANY, message)
    assert any(fits(pattern, sample) for sample in SAMPLES)


def test_every_reason_of_a_report_without_a_file_is_explained():
    said = {text for path in modules(*TELL_REASONS) for text in literals(path)}
    check(REASONS, {text for text in said if is_sentence(text)}, OTHERS)


def log_lines() -> Iterator[tuple[str, str]]:
    """What is logged as a warning or an error, and its level."""
    for path in modules("app", "worker.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                named = [one for one in ast.walk(node.func) if isinstance(one, ast.Attribute) and one.attr in LEVELS]
                if named and getattr(named[0].value, "id", "") == "log":
                    yield text_of(node.args[0]), LEVELS[named[0].attr]


def test_every_line_of_the_log_that_warns_is_explained():
    check(LOG, {text for text, _ in log_lines()})


def test_each_line_of_the_log_is_told_with_its_level():
    levels = {text: row[1] for row in rows(LOG) for text in SAID.findall(row[0])}
    assert all(levels[text] == level for text, level in log_lines() if ANY not in text)


LINK = re.compile(r"<a .*?</a>")  # where a warning leads to is no part of it


def warned() -> Iterator[str]:
    """What pages warn of in words of their own."""
    for path in sorted((ROOT / "templates").rglob("*.html")):
        for line in path.read_text().splitlines():
            if 'class="problem' in line or "is unknown until" in line:
                yield words(LINK.sub("", line))


def words(line: str) -> str:
    """A template's line as people read it, with … for what is put into it."""
    line = re.sub(r"\{\{ icon\(.*?\) \}\}|\{%.*?%\}", "", line)
    line = re.sub(r"\{\{.*?\}\}", ANY, line)
    return re.sub(r"<[^<>]*>", "", line).strip()


def test_every_warning_of_a_page_is_explained():
    patterns = told(WARNINGS)
    said = {text for text in warned() if len(text.replace(ANY, "")) > 10}
    assert len(said) >= 6
    assert not {text for text in said if not any(agree(f"{pattern}{ANY}", text) for pattern in patterns)}


DEPLOY = ROOT / "deploy"
HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "UMask": "0027",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
}


def test_the_unit_takes_every_right_that_the_service_does_not_need():
    lines = (DEPLOY / "systemd" / "tally.service").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert {name: given.get(name) for name in HARDENING} == HARDENING
    assert [line for line in lines if line.startswith("SystemCallFilter=")] == [
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
    ]
    assert given["ExecReload"] == given["ExecStart"].replace("serve", "reload")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_unit_and_finds_it_safe(tmp_path):
    unit = tmp_path / "tally.service"
    shipped = (DEPLOY / "systemd" / "tally.service").read_text()
    unit.write_text(shipped.replace("/opt/tally/.venv/bin/flask", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=True)
    assert "tally.service" not in verified.stderr
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0, "its exposure is above 2.0"


def test_browsers_are_told_to_come_by_tls_alone_whoever_sends_the_answer():
    site = (DEPLOY / "nginx.conf").read_text()
    secure = site.partition("listen 443 ssl;")[2].partition("listen 80;")[0]
    blocks = re.split(r"^    location ", secure, flags=re.MULTILINE)
    told = 'add_header Strict-Transport-Security "max-age=31536000" always;'
    assert told in blocks[0]
    assert all(told in " ".join(block.split()) for block in blocks[1:] if "add_header" in block)
