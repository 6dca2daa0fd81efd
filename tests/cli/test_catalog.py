"""`flask catalog`: import from a file and export to a file."""

from __future__ import annotations

import json

from app.cli.catalog import WITHOUT_COLUMN
from app.services.catalog.lookup import Catalog
from tests.services.catalog.test_lookup import DOCUMENT


def test_an_exported_catalog_can_be_imported_unchanged(succeeds, prints, services, tmp_path):
    services.catalog.load_sample()
    file = tmp_path / "catalog.json"
    file.write_text(succeeds("catalog", "export"))
    before = services.catalog.export()
    counts = prints("catalog", "import", file)
    assert counts == {kind: len(entries) for kind, entries in before.items()} | {
        "without_column": services.catalog.items_without_column()
    }
    assert services.catalog.export() == before == json.loads(file.read_text())


def test_an_import_prints_the_number_of_entries_and_items_without_a_column(succeeds, tmp_path):
    (tmp_path / "catalog.json").write_text(json.dumps(DOCUMENT))
    output = succeeds("catalog", "import", tmp_path / "catalog.json")
    assert output == f"Imported 1 customers, 1 products, 2 types.\n{WITHOUT_COLUMN}\nSHOP BOUGHT: price\n"


def test_a_catalog_can_be_read_from_standard_input(succeeds, services):
    succeeds("catalog", "import", "-", input=json.dumps(DOCUMENT))
    assert services.catalog.export() == DOCUMENT


def test_an_export_is_indented_and_with_json_on_one_line(succeeds, prints, services):
    services.catalog.put(json.dumps(DOCUMENT).encode())
    assert succeeds("catalog", "export").startswith('{\n  "customers": [\n')
    assert len(succeeds("catalog", "export", "--json").splitlines()) == 1
    assert prints("catalog", "export") == DOCUMENT


def test_an_invalid_document_is_rejected_with_every_error(fails, tmp_path):
    (tmp_path / "catalog.json").write_text('{"customers": [{}], "types": [{"code": "T"}]}')
    output = fails("catalog", "import", tmp_path / "catalog.json")
    assert output.startswith("Error: The catalog has 2 faults; nothing was stored.\n  customers[0].code is missing")
    assert "\n  types[0].product is missing" in output
    assert Catalog().is_empty()


def test_a_file_that_is_not_json_is_rejected(fails, tmp_path):
    (tmp_path / "catalog.json").write_bytes(b"PK\x03\x04\xff")
    assert fails("catalog", "import", tmp_path / "catalog.json").startswith("Error: The body is not UTF-8")
    (tmp_path / "catalog.json").write_text("customers: []")
    assert fails("catalog", "import", tmp_path / "catalog.json").startswith("Error: The body is not valid JSON")


def test_a_missing_file_is_a_usage_error(flask, tmp_path):
    result = flask("catalog", "import", tmp_path / "nothing.json")
    assert result.exit_code == 2
    assert "No such file" in result.output
