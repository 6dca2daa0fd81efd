"""Fixtures that run a command as `flask --app wsgi …` does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result


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
