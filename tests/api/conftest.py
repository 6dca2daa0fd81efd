"""What the API's tests share: passwords that hash fast, and the service under its real web server."""

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
    """A hash costs 100 ms by design; no test here is about that."""
    weak = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("app.services.people.passwords.PasswordHasher", weak)


@pytest.fixture(scope="session")
def served(short_folder: Path, sqlite_template: Path) -> Iterator[web.Web]:
    """The service under granian, for all tests of the session: nobody signs in, events only grow in number."""
    folder = short_folder / "web"
    folder.mkdir()
    with web.serve(folder, sqlite_template, BODY_SECONDS=BODY_SECONDS) as running:
        yield running
