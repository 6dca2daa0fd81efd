"""Log lines: what stands in them is as it came, and each is one line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.ops import logs

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
