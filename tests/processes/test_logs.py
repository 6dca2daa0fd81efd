"""Log lines: what stands in them is as it came, each is one line, and with LOG_FORMAT=json each is JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from app.ops import logs
from tests.support.running import ROOT

HOSTILE = "a\r\n2026-01-01 [info] forged\x1b[2J\x00\x7f\x9b31m\u2028b\u202ec é"
SHOWN = r"a\r\n2026-01-01 [info] forged\x1b[2J\x00\x7f\x9b31m\u2028b\u202ec é"


@pytest.fixture
def lines(capsys) -> Iterator:
    """A function that configures the logs, lets something log, and returns the lines."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def logged(log_format: str, log) -> list[str]:
        logs.configure(log_format)
        log()
        return capsys.readouterr().err.splitlines()

    yield logged
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


LOGGERS = {
    "a value": lambda: structlog.get_logger().warning("unavailable", path=HOSTILE),
    "an event": lambda: structlog.get_logger().warning(HOSTILE),
    "a library's": lambda: logging.getLogger("library").warning("took %s", HOSTILE),
}


@pytest.mark.parametrize("log", LOGGERS.values(), ids=LOGGERS.keys())
def test_in_text_control_characters_are_escaped(lines, log):
    [line] = lines("text", log)
    assert SHOWN in line.replace("\\\\", "\\")
    assert line.isprintable()


def test_a_traceback_has_its_own_line_ends_and_no_other_control_character(lines):
    def fail() -> None:
        try:
            raise ValueError(HOSTILE.replace("\n", ""))
        except ValueError:
            structlog.get_logger().exception("request failed")

    told = lines("text", fail)
    assert len(told) > 2
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize("log", LOGGERS.values(), ids=LOGGERS.keys())
def test_in_json_each_line_is_json_and_has_it_as_it_came(lines, log):
    [line] = lines("json", log)
    assert any(HOSTILE in str(value) for value in json.loads(line).values())


@pytest.fixture
def as_json():
    """This process's log is in JSON."""
    logs.configure("json")
    yield
    logs.configure("text")


@pytest.mark.parametrize(
    ("line", "event", "level"),
    [
        (b"[ERROR] Unexpected exit from worker-1", "[ERROR] Unexpected exit from worker-1", "error"),
        (b"Sign in as", "Sign in as", "info"),
        (b"42", "42", "info"),
        (b'{"cut off', '{"cut off', "info"),
        (b"\xff \x1b[31m", "\ufffd \x1b[31m", "info"),
    ],
)
def test_a_line_of_another_program_becomes_json(as_json, line, event, level):
    told = json.loads(logs.render_line(line))
    assert (told["event"], told["level"]) == (event, level)
    assert told["timestamp"].endswith("Z")


def test_what_is_json_stays_and_what_is_blank_goes(as_json):
    assert logs.render_line(b'{"event": "x"}') == b'{"event": "x"}\n'
    assert logs.render_line(b" ") == b""


def test_text_stays_as_it_is():
    assert logs.render_line(b"  as it is") == b"  as it is\n"
    assert logs.render_line(b"") == b"\n"


UNCAUGHT = """
import threading, warnings
from app.ops import logs
from tests.support.running import ROOT
logs.configure("json")
thread = threading.Thread(target=lambda: 1 / 0, name="mine")
thread.start()
thread.join()
warnings.warn("be warned")
raise ValueError("of the process")
"""


def test_what_nobody_caught_is_one_line():
    ran = subprocess.run([sys.executable, "-c", UNCAUGHT], cwd=ROOT, capture_output=True, timeout=120)
    first, second, third = map(json.loads, ran.stderr.splitlines())
    assert (first["thread"], first["level"]) == ("mine", "error")
    assert "ZeroDivisionError" in first["exception"]
    assert "be warned" in second["event"]
    assert "ValueError: of the process" in third["exception"]
    assert ran.returncode == 1


@pytest.mark.parametrize("command", [["-m", "flask", "--app", "wsgi", "serve"], [str(ROOT / "worker.py")]])
def test_a_wrong_setting_is_a_line_of_the_log_too(tmp_path, command):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LOG_FORMAT": "json", "PORT": "abc"}
    ran = subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, timeout=120)
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "PORT" in json.loads(line)["event"]
    assert ran.stdout == b""
