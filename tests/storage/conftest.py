"""Fixtures of each kind of storage, for the promises that all kinds share."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.storage import Storage, open_storage
from app.storage.local import LocalStorage
from app.storage.s3 import S3Storage
from tests.support.s3 import S3


@pytest.fixture(params=["local", "s3"])
def storage(request) -> Storage:
    """Return an empty storage of each kind."""
    return request.getfixturevalue(f"{request.param}_storage")


@pytest.fixture
def local_storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "reports")


@pytest.fixture
def s3_storage(s3: S3) -> S3Storage:
    return open_storage(s3.url, s3.endpoint)
