"""docs/operations.md explains every message about a problem, with its cause and its fix."""

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
ITALIC = re.compile(r"\*([^*]+)\*")
ANY = "…"
LEVELS = {"warning": "warning", "error": "error", "exception": "error"}

HEALTH = "Messages of /health/ready and the dashboard"
REASONS = "Why a report has no file"
WARNINGS = "Warnings on other pages"
LOG = "Lines of the log"
# modules whose sentences are reasons for a report without a file
REASON_MODULES = (
    "app/storage/s3",
    "app/storage/local.py",
    "app/services/reports/cleanup.py",
    "app/services/reports/runner.py",
)
# reasons composed elsewhere: from the database, the health checks, a cancellation, or an internal error
OTHER_REASONS = {
    "The database cannot be reached: …",
    "The storage of report files does not answer.",
    "Cancelled by ….",
    "SomeError: …",
}


def read_section(title: str) -> str:
    return re.search(rf"^## {re.escape(title)}$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1]


def table_rows(title: str) -> list[tuple[str, ...]]:
    """Return the rows of the tables as the texts of their cells."""
    lines = [line for line in read_section(title).splitlines() if line.startswith("| *")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def documented(title: str) -> set[str]:
    """Return the texts in italics in the first cells."""
    return {text for row in table_rows(title) for text in ITALIC.findall(row[0])}


def matches(pattern: str, text: str) -> bool:
    """Return whether a text of the page, with … for any text, matches a message."""
    return re.fullmatch(".*".join(re.escape(piece) for piece in pattern.split(ANY)), text, re.DOTALL) is not None


def check(title: str, messages: set[str], other_messages: set[str] = frozenset()) -> None:
    """Fail unless the page has exactly these messages."""
    patterns = documented(title)
    assert not {text for text in messages if not any(match_either_way(pattern, text) for pattern in patterns)}, (
        "not on the page"
    )
    left = {
        pattern
        for pattern in patterns - other_messages
        if not any(match_either_way(pattern, text) for text in messages)
    }
    assert not left, "no longer a message of the service"


def match_either_way(first: str, second: str) -> bool:
    return matches(first, second) or matches(second, first)


def modules(*below: str) -> Iterator[Path]:
    for name in below:
        path = ROOT / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def literal_text(node: ast.AST) -> str | None:
    """Return the text of a literal, with … for its placeholders."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(part) or ANY for part in node.values)
    return None


def literals(path: Path) -> Iterator[str]:
    """Yield the texts of a module without its docstrings, and formatted ones as a whole."""
    tree = ast.parse(path.read_text())
    pieces = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node not in pieces | docstrings and (text := literal_text(node)):
            yield text


def is_sentence(text: str) -> bool:
    return re.fullmatch(rf"[A-Z{ANY}].*[a-z].* .*[.{ANY}]", text) is not None


MESSAGES = [
    text
    for name, text in vars(health).items()
    if name.isupper() and isinstance(text, str) and name not in ("SILENT", "UNUSABLE")  # reasons within messages
]
SAMPLES = [
    health.AWAY.format(reason=health.SILENT),
    health.SPOOLING.format(reason="The database cannot be reached: connection refused"),
    health.AWAY.format(reason="The database cannot be reached: connection refused"),
    health.AWAY.format(reason="No database connection came free in time."),
    *(
        health.AWAY.format(reason=f"{problem}: as the driver says.")
        for problem in {*availability.POSTGRES.values(), *availability.SQLITE.values()}
    ),
    health.AWAY.format(reason=f"{availability.MOVED}."),
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
    health.NO_BACKUP.format(place="/srv/backups"),
    health.OLD_BACKUP.format(hours=49, every=24),
    health.FAILING_CHANNELS.format(names="Operations, Chat"),
    health.NO_BACKUP_LIST.format(place="s3://backups/tally", reason="The S3 store cannot be reached."),
]


def test_every_health_message_is_explained():
    check(HEALTH, set(SAMPLES))


@pytest.mark.parametrize("message", MESSAGES)
def test_every_health_message_has_a_sample(message):
    pattern = re.sub(r"\{\w+\}", ANY, message)
    assert any(matches(pattern, sample) for sample in SAMPLES)


def test_every_reason_for_a_report_without_a_file_is_explained():
    texts = {text for path in modules(*REASON_MODULES) for text in literals(path)}
    check(REASONS, {text for text in texts if is_sentence(text)}, OTHER_REASONS)


def log_lines() -> Iterator[tuple[str, str]]:
    """Yield each logged warning or error, and its level."""
    for path in modules("app", "worker.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                methods = [
                    attribute
                    for attribute in ast.walk(node.func)
                    if isinstance(attribute, ast.Attribute) and attribute.attr in LEVELS
                ]
                if methods and getattr(methods[0].value, "id", "") == "log":
                    yield literal_text(node.args[0]), LEVELS[methods[0].attr]


def test_every_logged_warning_and_error_is_explained():
    check(LOG, {text for text, _ in log_lines()})


def test_every_log_line_is_listed_with_its_level():
    levels = {text: row[1] for row in table_rows(LOG) for text in ITALIC.findall(row[0])}
    assert all(levels[text] == level for text, level in log_lines() if ANY not in text)


LINK = re.compile(r"<a .*?</a>")  # the target of a warning's link is not part of its text


def page_warnings() -> Iterator[str]:
    """Yield the warnings in the templates."""
    for path in sorted((ROOT / "templates").rglob("*.html")):
        for line in path.read_text().splitlines():
            if 'class="problem' in line or "is unknown until" in line:
                yield visible_text(LINK.sub("", line))


def visible_text(line: str) -> str:
    """Return the text of a template's line, with … for its placeholders."""
    line = re.sub(r"\{\{ icon\(.*?\) \}\}|\{%.*?%\}", "", line)
    line = re.sub(r"\{\{.*?\}\}", ANY, line)
    return re.sub(r"<[^<>]*>", "", line).strip()


def test_every_warning_on_a_page_is_explained():
    patterns = documented(WARNINGS)
    warnings = {text for text in page_warnings() if len(text.replace(ANY, "")) > 10}
    assert len(warnings) >= 6
    assert not {text for text in warnings if not any(match_either_way(f"{pattern}{ANY}", text) for pattern in patterns)}


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


def test_the_systemd_unit_drops_all_unneeded_privileges():
    lines = (DEPLOY / "systemd" / "tally.service").read_text().splitlines()
    options = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert {name: options.get(name) for name in HARDENING} == HARDENING
    assert [line for line in lines if line.startswith("SystemCallFilter=")] == [
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
    ]
    assert options["ExecReload"] == options["ExecStart"].replace("serve", "reload")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_accepts_the_unit_and_rates_it_safe(tmp_path):
    unit = tmp_path / "tally.service"
    shipped = (DEPLOY / "systemd" / "tally.service").read_text()
    unit.write_text(shipped.replace("/opt/tally/.venv/bin/tally", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=True)
    assert "tally.service" not in verified.stderr
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0, "its exposure is above 2.0"


def test_every_response_of_nginx_has_the_hsts_header():
    site = (DEPLOY / "nginx.conf").read_text()
    secure = site.partition("listen 443 ssl;")[2].partition("listen 80;")[0]
    blocks = re.split(r"^    location ", secure, flags=re.MULTILINE)
    header = 'add_header Strict-Transport-Security "max-age=31536000" always;'
    assert header in blocks[0]
    assert all(header in " ".join(block.split()) for block in blocks[1:] if "add_header" in block)
