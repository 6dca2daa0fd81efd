"""Hostile catalog documents are imported or rejected with an explanation, and break nothing."""

from __future__ import annotations

import io

import orjson
import pytest
from werkzeug.test import TestResponse

from tests.admin.conftest import TOKEN, Visitor

PAGE = "/admin/catalog/import"
ENTRY = {"code": "A", "description": "", "columns": ["a"]}
REFUSED = [
    b"[" * 100_000,
    b'{"customers":' * 10_000,
    b'{"products": [{"code": "A", "columns": ' + b"[" * 240 + b"]" * 240 + b"}]}",
    b'{"products": [{"code": 1e400}]}',
    b'{"products": [{"code": ' + b"9" * 10_000 + b"}]}",
    b'{"products": [{"code": NaN}]}',
    b'{"products": [{"code": "a\\u0000b"}]}',
    b'{"products": [{"code": "\\ud800"}]}',
    b'{"products": [{"code": "A", "columns": {"a": 1}}]}',
    b'{"products": {"code": "A"}}',
    b'{"products": [null, 1, "A", [], {}]}',
    b'{"types": [{"code": "A", "product": ["A"], "context": "userId"}]}',
    b'{"customers": [{"code": "A"}]',
    b'{"customers": [{"code": "A"}]} {"customers": []}',
    b"null",
    b"[]",
    b'"customers"',
    b"\xff\xfe{\x00}\x00",
    b"\x00",
    b"PK\x03\x04",
    orjson.dumps({"products": [ENTRY | {"columns": ["a"] * 100_000}]}),
    orjson.dumps({"products": [ENTRY | {"code": "A" * 1_000_000}]}),
]


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Use PostgreSQL, because it cannot store every text."""
    return postgres_url


def send(boss: Visitor, given: dict[str, object]) -> TestResponse:
    """Import a document at once, without the preview."""
    return boss.post(PAGE, {**given, "import": "1", "csrf_token": TOKEN.search(boss.see(PAGE))[1]})


def test_a_document_that_is_no_catalog_is_rejected_with_an_explanation_and_changes_nothing(boss, services):
    before, found = services.catalog.export(), []
    for document in REFUSED:
        for given in ({"file": (io.BytesIO(document), "catalog.json")}, {"text": document.decode(errors="replace")}):
            answer = send(boss, given)
            is_told = answer.status_code == 400 and 'class="wrong"' in answer.get_data(as_text=True)
            found += [] if is_told else [(document[:50], answer.status_code)]
    assert found == []
    assert services.catalog.export() == before


def test_a_document_that_is_too_large_is_rejected(boss):
    assert send(boss, {"file": (io.BytesIO(b" " * 4_000_001), "catalog.json")}).status_code == 413


def test_of_a_duplicate_key_the_last_one_counts(boss, services):
    send(boss, {"text": '{"customers": [{"code": "A"}], "customers": [{"code": "B"}]}'})
    assert [one["code"] for one in services.catalog.export()["customers"]] == ["B"]
