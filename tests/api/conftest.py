"""Fixtures of the API's tests: passwords that hash fast, and the service behind its real web server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.support import web

BODY_SECONDS = 2


@pytest.fixture(autouse=True)
def fast_passwords(monkeypatch) -> None:
    """Use cheap hashes, because a hash takes 100 ms by design and no test here depends on that."""
    weak = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("app.services.people.passwords.PasswordHasher", weak)


@pytest.fixture(scope="session")
def served(short_folder: Path, sqlite_template: Path) -> Iterator[web.Web]:
    """The service behind granian, shared by the whole session: tests do not sign in, and only add events."""
    folder = short_folder / "web"
    folder.mkdir()
    with web.serve(folder, sqlite_template, BODY_SECONDS=BODY_SECONDS) as running:
        yield running
