"""`flask catalog`: from a file and to a file."""

from __future__ import annotations

import json

from app.services.catalog.lookup import Catalog
from tests.services.catalog.test_lookup import DOCUMENT


def test_what_was_exported_is_imported_again_as_it_was(succeeds, prints, services, tmp_path):
    services.catalog.load_sample()
    file = tmp_path / "catalog.json"
    file.write_text(succeeds("catalog", "export"))
    before = services.catalog.export()
    counts = prints("catalog", "import", file)
    assert counts == {kind: len(entries) for kind, entries in before.items()}
    assert services.catalog.export() == before == json.loads(file.read_text())


def test_an_import_says_how_much_it_was(succeeds, tmp_path):
    (tmp_path / "catalog.json").write_text(json.dumps(DOCUMENT))
    said = succeeds("catalog", "import", tmp_path / "catalog.json")
    assert said == "Imported 1 customers, 1 products, 2 types.\n"


def test_a_catalog_may_come_from_standard_input(succeeds, services):
    succeeds("catalog", "import", "-", input=json.dumps(DOCUMENT))
    assert services.catalog.export() == DOCUMENT


def test_an_export_is_for_people_and_with_json_for_programs(succeeds, prints, services):
    services.catalog.put(json.dumps(DOCUMENT).encode())
    assert succeeds("catalog", "export").startswith('{\n  "customers": [\n')
    assert len(succeeds("catalog", "export", "--json").splitlines()) == 1
    assert prints("catalog", "export") == DOCUMENT


def test_an_invalid_document_is_refused_with_each_fault(fails, tmp_path):
    (tmp_path / "catalog.json").write_text('{"customers": [{}], "types": [{"code": "T"}]}')
    said = fails("catalog", "import", tmp_path / "catalog.json")
    assert said.startswith("Error: The catalog has 2 faults; nothing was stored.\n  customers[0].code is missing")
    assert "\n  types[0].product is missing" in said
    assert Catalog().is_empty()


def test_what_is_not_json_is_refused(fails, tmp_path):
    (tmp_path / "catalog.json").write_bytes(b"PK\x03\x04\xff")
    assert fails("catalog", "import", tmp_path / "catalog.json").startswith("Error: The body is not UTF-8")
    (tmp_path / "catalog.json").write_text("customers: []")
    assert fails("catalog", "import", tmp_path / "catalog.json").startswith("Error: The body is not valid JSON")


def test_a_file_that_there_is_not_is_a_wrong_call(flask, tmp_path):
    result = flask("catalog", "import", tmp_path / "nothing.json")
    assert result.exit_code == 2
    assert "No such file" in result.output
