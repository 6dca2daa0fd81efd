"""Pages with very many codes stay short: lists are paginated, and fields suggest a hundred codes."""

from __future__ import annotations

from tests.support.client import event
from tests.support.rows import fill_seen, numbered

PAGES = ("catalog", "catalog/types", "catalog/missing", "catalog/type/new")
FORMS = ("events", "reports/new", "reports/recurring/new", "keys/new")
CATALOG = (
    "INSERT INTO customer (code, description) SELECT 'C' || n, ''",
    "INSERT INTO product (code, description, columns) SELECT 'P' || n, '', '[]'",
    "INSERT INTO event_type (code, product, description, context) SELECT 'K' || n, 'PORTFOLIO', '', '[]'",
)


def test_no_page_lists_all_codes_and_each_is_found(boss, admin):
    fill_seen(20_000)
    for query in CATALOG:
        numbered(query, 300)
    admin.send(event())
    for path in (*PAGES, *FORMS):
        assert len(boss.see(f"/admin/{path}")) < 130_000, path
    assert boss.read("/admin/catalog").first(class_="tally").text == "20,003"
    types = [key.partition(" ")[0] for key in boss.read("/admin/catalog/missing?find=t1999").row_keys("type ")]
    assert sorted(types) == ["T1999", *[f"T1999{n}" for n in range(10)]]
    assert len(boss.read("/admin/catalog/missing?page=3").row_keys()) == 100
    assert "The catalog has more." in boss.read("/admin/reports/new")
    boss.send("/admin/catalog/adopt", {}, form="/admin/catalog/missing")
    assert "1,000 codes are added to the catalog." in boss.read("/admin/catalog/missing")
