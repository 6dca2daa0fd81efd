"""CONTRIBUTING's recipe for a new field of an event, followed on a copy of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECIPE = re.search(r"## Add a field to an event\n(.*?)\n## ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
STEPS = re.findall(r"^\d\. `(app/[\w/.]+)`", RECIPE, re.MULTILINE)

# For each file of the recipe: what stands there, and what replaces it.
EDITS = {
    "app/store/models.py": [
        (
            "    version = TextField(null=True)\n",
            "    version = TextField(null=True)\n    region = TextField(null=True)\n",
        )
    ],
    "app/event_columns.py": [
        ('    "version": "text or null",\n', '    "version": "text or null",\n    "region": "text or null",\n')
    ],
    "app/schemas/events.py": [
        (
            "    version: VersionText | msgspec.UnsetType = msgspec.UNSET\n",
            "    version: VersionText | msgspec.UnsetType = msgspec.UNSET\n"
            "    region: CodeText | msgspec.UnsetType = msgspec.UNSET\n",
        ),
        (
            "    version: str | msgspec.UnsetType\n",
            "    version: str | msgspec.UnsetType\n    region: str | msgspec.UnsetType\n",
        ),
        ("    version = Version(", "    region = Code()\n    version = Version("),
    ],
    "app/services/events/ingest.py": [
        ("e.type, e.version, e.timestamp", "e.type, e.version, e.region, e.timestamp"),
        ("e.type, version, e.timestamp", "e.type, version, e.region or None, e.timestamp"),
    ],
}
MIGRATION = 'def up(migrator, db):\n    db.execute_sql("ALTER TABLE event ADD COLUMN region TEXT")\n'
SCRIPT = """
from pathlib import Path

from app import create_app
from app.config import Settings
from app.exports import jsonl
from app.services.people.accounts import SYSTEM
from app.store import database
from app.store.events import select
from msgspec import UNSET

settings = Settings(data_dir=Path("data"), secret_key="a secret of the test", redis_url="redis://127.0.0.1:1")
app = create_app(settings)
database.upgrade()
event = {"customer": "C", "product": "P", "type": "T", "timestamp": 1, "context": []}
answer = app.test_client().post("/events", json=[event | {"region": "EMEA"}, event])
assert answer.status_code == 200, answer.text
listing = app.extensions["services"].listing
assert [listing.one(SYSTEM, key).region for key in (1, 2)] == ["EMEA", UNSET]
lines = b"".join(block for block, _ in jsonl.blocks(select.full_rows(select.Selection("C", "P")))).splitlines()
assert [b'"region":"EMEA"' in line for line in lines] == [True, False]
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("app", "templates", "static"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_recipe_names_at_most_five_files():
    assert set(STEPS) == {*EDITS, "app/store/migrations/"}
    assert len(STEPS) <= 5


def test_a_field_added_by_the_recipe_is_stored_and_read_back(copy):
    for name, edits in EDITS.items():
        text = (copy / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{name} has changed; adapt the recipe: {old}"
            text = text.replace(old, new)
        (copy / name).write_text(text)
    (copy / "app/store/migrations/0999_region.py").write_text(MIGRATION)
    run = subprocess.run([sys.executable, "-c", SCRIPT], cwd=copy, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
