"""Rows that are found by SQL that is made once are those that Peewee finds."""

from __future__ import annotations

import pytest

from app.store.models import Account, AlertRule, Table
from app.store.queries import find_one


def typed(row: Table) -> dict[str, tuple[type, object]]:
    return {name: (type(value), value) for name, value in row.__data__.items()}


@pytest.mark.both_databases
def test_a_row_found_by_a_unique_column_has_the_values_and_types_of_its_model(services):
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")
    for model, name, value in ((AlertRule, "id", 1), (Account, "name", "anna")):
        assert typed(find_one(model, name, value)) == typed(model.get(getattr(model, name) == value))


def test_no_row_is_found_by_a_value_that_no_row_has(services):
    assert find_one(Account, "name", "anna") is None
    assert find_one(Account, "id", None) is None
