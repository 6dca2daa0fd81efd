"""A transaction is all or nothing, and the next one starts afresh."""

from __future__ import annotations

import peewee
import pytest

from app.store.catalog import catalog
from app.store.database import transaction

NEWS = [("BARCHART", "PORTFOLIO", "OPENED", 3)]


def test_what_is_written_inside_is_there_afterwards(app):
    with transaction():
        catalog.note_seen(NEWS, 1)
    assert catalog.seen() == [news[:3] for news in NEWS]


def test_a_failure_inside_takes_everything_back(app):
    with pytest.raises(ZeroDivisionError), transaction():
        catalog.note_seen(NEWS, 1)
        raise ZeroDivisionError
    assert catalog.seen() == []


def test_a_refused_statement_takes_back_the_ones_before_it(app):
    with pytest.raises(peewee.IntegrityError), transaction():
        catalog.note_seen(NEWS, 1)
        catalog.note_seen([("BARCHART", "PORTFOLIO", None, 3)], 1)
        catalog.Seen.insert(customer=None).execute()
    assert catalog.seen() == []


def test_a_transaction_inside_another_ends_with_it(app):
    with pytest.raises(ZeroDivisionError), transaction():
        with transaction():
            catalog.note_seen(NEWS, 1)
        raise ZeroDivisionError
    assert catalog.seen() == []


def test_the_next_transaction_does_not_suffer(app):
    with pytest.raises(ZeroDivisionError), transaction():
        raise ZeroDivisionError
    with transaction():
        catalog.note_seen(NEWS, 1)
    assert catalog.seen() == [news[:3] for news in NEWS]


def test_a_catalog_document_is_one_transaction(app):
    document = {
        "customers": [{"code": "A", "description": ""}],
        "products": [{"code": "P", "description": "", "columns": []}],
        "types": [{"code": "T", "product": None, "description": "", "context": []}],
    }
    with pytest.raises(peewee.IntegrityError):
        catalog.put(document)
    assert (catalog.customers(), catalog.products()) == ([], [])
