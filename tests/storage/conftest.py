"""Each kind of storage that there is, for what all of them promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.storage import Storage
from app.storage.local import LocalStorage


@pytest.fixture(params=["local"])
def storage(request) -> Storage:
    """An empty storage of each kind."""
    return request.getfixturevalue(f"{request.param}_storage")


@pytest.fixture
def local_storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "reports")
