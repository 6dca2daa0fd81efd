"""Queries about the settings of the last start."""

from __future__ import annotations

from collections.abc import Mapping

from app.store.models import SettingSeen


def seen() -> dict[str, str]:
    """Each setting's value at the last start; none before the first."""
    return dict(SettingSeen.select(SettingSeen.name, SettingSeen.value).tuples())


def keep(values: Mapping[str, str]) -> None:
    """Take the place of what was kept; inside a transaction."""
    SettingSeen.delete().execute()
    SettingSeen.insert_many([{"name": name, "value": value} for name, value in values.items()]).execute()
