"""A transaction commits everything or nothing, and does not affect the next one."""

from __future__ import annotations

from contextlib import nullcontext

import peewee
import pytest

from app.store.catalog import catalog
from app.store.database import transaction

CODES = [("BARCHART", "PORTFOLIO", "OPENED", 3)]


def fail() -> None:
    raise ZeroDivisionError


def send_an_invalid_statement() -> None:
    catalog.note_seen([("BARCHART", "PORTFOLIO", None, 3)], 1)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("action", "error"), [(fail, ZeroDivisionError), (send_an_invalid_statement, peewee.IntegrityError)]
)
def test_a_failure_rolls_everything_back_and_the_next_transaction_succeeds(app, depth, action, error):
    with pytest.raises(error), transaction():
        with transaction() if depth == 2 else nullcontext():
            catalog.note_seen(CODES, 1)
        action()
    assert catalog.seen() == []
    with transaction():
        catalog.note_seen(CODES, 1)
    assert catalog.seen() == [code[:3] for code in CODES]


def test_a_catalog_document_is_stored_in_one_transaction(app):
    document = {
        "customers": [{"code": "A", "description": ""}],
        "products": [{"code": "P", "description": "", "columns": []}],
        "types": [{"code": "T", "product": None, "description": "", "context": []}],
    }
    with pytest.raises(peewee.IntegrityError):
        catalog.put(document)
    assert (catalog.customers(), catalog.products()) == ([], [])
