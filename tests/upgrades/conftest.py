"""Databases without tables."""

from __future__ import annotations

from tests.store.conftest import empty_database, empty_database_url  # noqa: F401
