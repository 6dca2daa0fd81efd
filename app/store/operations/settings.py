"""Queries about the settings of the last start."""

from __future__ import annotations

from collections.abc import Mapping

from app.store.models import SettingSeen
from app.store.queries import execute, fetch


def seen() -> dict[str, str]:
    """Return the value of each setting at the last start, or an empty dict before the first start."""
    return dict(fetch(SettingSeen.select(SettingSeen.name, SettingSeen.value)))


def keep(values: Mapping[str, str]) -> None:
    """Replace the stored settings. Call it inside a transaction."""
    execute(SettingSeen.delete())
    execute(SettingSeen.insert_many([{"name": name, "value": value} for name, value in values.items()]))
