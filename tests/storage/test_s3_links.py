"""A link to a file in an S3 store needs no credentials, names the file and expires."""

from __future__ import annotations

import time
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

from app.storage import open_storage
from app.storage.s3 import S3Storage
from tests.storage.test_every_storage import KEY, PART, put
from tests.support.s3 import STORAGE


@pytest.fixture
def storage(s3_storage) -> S3Storage:
    put(s3_storage, KEY, b"the report")
    put(s3_storage, PART, b"another's")
    return s3_storage


def status(url: str, method: str = "GET") -> int:
    try:
        with urlopen(Request(url, method=method)) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_a_link_can_be_opened_repeatedly_without_credentials(storage):
    link = storage.link(KEY, "PORTFOLIO.csv", "text/csv", 60)
    for _ in range(2):
        with urlopen(link) as answer:
            assert (answer.status, answer.read()) == (200, b"the report")


def test_a_link_sets_the_media_type_and_name_of_the_file(storage):
    with urlopen(storage.link(KEY, "PORTFOLIO_2026-11-01.csv.gz", "application/gzip", 60)) as answer:
        assert answer.headers["Content-Type"] == "application/gzip"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="PORTFOLIO_2026-11-01.csv.gz"'
        assert "no-store" in answer.headers["Cache-Control"]


def test_a_file_name_may_have_any_characters(storage):
    with urlopen(storage.link(KEY, 'ä "b"\r\nX: y.csv', "text/csv", 60)) as answer:
        disposition = answer.headers["Content-Disposition"]
    assert disposition == "attachment; filename*=UTF-8''%C3%A4%20%22b%22%0D%0AX%3A%20y.csv"


def test_a_link_supports_range_requests(storage):
    with urlopen(Request(storage.link(KEY, "a.csv", "text/csv", 60), headers={"Range": "bytes=4-5"})) as answer:
        assert (answer.status, answer.read()) == (206, b"re")


def test_a_link_expires(storage):
    link = storage.link(KEY, "a.csv", "text/csv", 1)
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["1"]
    time.sleep(2)  # the expiry is in whole seconds
    assert status(link) == 403


def test_a_changed_link_is_rejected(storage):
    link = storage.link(KEY, "a.csv", "text/csv", 60)
    for changed in (
        link.replace(KEY, PART),
        link.replace("Expires=60", "Expires=61"),
        link.replace("a.csv", "b.csv"),
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.partition("?")[0],
    ):
        assert status(changed) == 403
    assert status(link, "PUT") == status(link, "DELETE") == status(link, "HEAD") == 403
    assert status(link) == 200


def test_a_link_has_the_store_s_public_address(s3):
    storage = open_storage(s3.url, s3.endpoint, "https://files.example.com")
    put(storage, KEY)
    link = storage.link(KEY, "a.csv", "text/csv", 60)
    assert link.startswith(f"https://files.example.com/{STORAGE}/reports/{KEY}?")


def test_a_link_is_made_without_a_request_to_the_store(s3):
    link = open_storage(s3.url, "http://127.0.0.1:1").link(KEY, "a.csv", "text/csv", 60)
    assert link.startswith("http://127.0.0.1:1/")
