"""Running a command as `flask --app wsgi …` does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result


@pytest.fixture
def flask(app) -> Callable[..., Result]:
    """Run a command: `flask("user", "list")`; its exit code, output and stderr."""
    runner = app.test_cli_runner()
    return lambda *args, **kwargs: runner.invoke(args=[str(arg) for arg in args], **kwargs)


@pytest.fixture
def succeeds(flask) -> Callable[..., str]:
    """Run a command that exits with 0; what it prints."""

    def run(*args: object, **kwargs: object) -> str:
        result = flask(*args, **kwargs)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def prints(succeeds) -> Callable[..., object]:
    """Run a command with --json; what it prints, parsed."""
    return lambda *args, **kwargs: json.loads(succeeds(*args, "--json", **kwargs))


@pytest.fixture
def fails(flask) -> Callable[..., str]:
    """Run a command that exits with 1; its sentence on standard error."""

    def run(*args: object, **kwargs: object) -> str:
        result = flask(*args, **kwargs)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        return result.stderr

    return run
