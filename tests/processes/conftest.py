"""Fixtures that start the service as `make run` does and stop it after the test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.running import Running


@pytest.fixture
def folder(short_folder: Path) -> Path:
    """Return a new folder with a short path."""
    return Path(tempfile.mkdtemp(dir=short_folder))


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Return a function that starts the service in a folder, with further settings."""
    started = []

    def start(folder: Path, **settings: object) -> Running:
        started.append(Running(folder, **settings))
        return started[-1]

    yield start
    for service in started:
        if not service.ended():
            service.stop()


@pytest.fixture(scope="module")
def shared_service(short_folder: Path) -> Iterator[Running]:
    """A running service shared by the tests that only kill parts of it."""
    service = Running(Path(tempfile.mkdtemp(dir=short_folder))).until_ready()
    yield service
    assert service.ended() or service.stop() == 0
