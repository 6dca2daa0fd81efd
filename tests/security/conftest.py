"""Users of the dashboard, as in its own tests."""

from __future__ import annotations

from tests.admin.conftest import anna, boss, visitor

__all__ = ["anna", "boss", "visitor"]
