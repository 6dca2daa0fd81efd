"""People at the door, as the tests of the dashboard know them."""

from __future__ import annotations

from tests.admin.conftest import anna, boss, visitor

__all__ = ["anna", "boss", "visitor"]
