"""`/tally.js`: the JavaScript client, and what an upgrade leaves of its addresses."""

from __future__ import annotations

import gzip
from base64 import b64encode
from hashlib import sha256, sha384

import pytest

from app.support import browser_client
from tests.support.client import root
from tests.support.running import ROOT

DATABASE = "sqlite"  # the file is in no database

CONTENT = (ROOT / "clients" / "js" / "tally.js").read_bytes()
HASH = sha256(CONTENT).hexdigest()[:16]


@pytest.mark.parametrize(
    ("address", "cached"),
    [("/tally.js", "public, max-age=3600"), (f"/tally.js?v={HASH}", "public, max-age=31536000, immutable")],
)
def test_everybody_gets_the_client_as_a_module_that_is_cached(nobody, address, cached):
    answer = nobody.get(address, headers={"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.content_type) == (200, "text/javascript; charset=utf-8")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert {*answer.headers["Cache-Control"].split(", ")} == {*cached.split(", ")}
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(answer.get_data()) == CONTENT == nobody.get(address).get_data()
    again = nobody.get(address, headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.get_data()) == (304, b"")


def test_an_unknown_version_is_not_there(nobody):
    answer = nobody.get("/tally.js?v=0123456789abcdef")
    assert (answer.status_code, root(answer)) == (404, "REQUEST_NOT_FOUND")
    assert "max-age" not in answer.headers.get("Cache-Control", "")


def test_the_versions_of_earlier_releases_stay_and_the_integrity_is_of_the_content(tmp_path):
    (tmp_path / "tally.js").write_text("new")
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / "tally-0.1.0.js").write_text("old")
    current, old = browser_client.versions(tmp_path).values()
    assert (current.content, old.content) == (b"new", b"old")
    assert old.hash == sha256(b"old").hexdigest()[:16]
    assert current.integrity == f"sha384-{b64encode(sha384(b'new').digest()).decode()}"
