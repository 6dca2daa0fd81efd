"""Fixtures that run a command as `flask --app wsgi …` and as `tally …` do."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from app.cli import main


@pytest.fixture
def flask(app) -> Callable[..., Result]:
    """Return a function that runs a command, such as `flask("user", "list")`, and returns its exit code and output."""
    runner = app.test_cli_runner()
    return lambda *args, **kwargs: runner.invoke(args=[str(arg) for arg in args], **kwargs)


@pytest.fixture
def succeeds(flask) -> Callable[..., str]:
    """Return a function that runs a command, checks that it exits with 0, and returns its output."""

    def run(*args: object, **kwargs: object) -> str:
        result = flask(*args, **kwargs)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def prints(succeeds) -> Callable[..., object]:
    """Return a function that runs a command with --json and returns the parsed output."""
    return lambda *args, **kwargs: json.loads(succeeds(*args, "--json", **kwargs))


@pytest.fixture
def fails(flask) -> Callable[..., str]:
    """Return a function that runs a command, checks that it exits with 1, and returns its error message."""

    def run(*args: object, **kwargs: object) -> str:
        result = flask(*args, **kwargs)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        return result.stderr

    return run


@pytest.fixture
def tally(app, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Run a command of `tally`: `tally("user", "list")`; its exit code, output and stderr."""
    monkeypatch.setattr(main, "load_application", lambda: app)
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")  # restores it

    def run(*args: object, input: str = "", terminal: bool = False) -> tuple[int, str, str]:
        stdin = io.TextIOWrapper(io.BytesIO(input.encode()))
        stdin.isatty = lambda: terminal
        monkeypatch.setattr(sys, "argv", ["tally", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code or 0, *capfd.readouterr()

    return run
