"""The rules of the architecture, checked on the imports: which rooms may import each other, and use which libraries.

A *room* is a module or package directly under `app`; `factory` is `app/__init__.py`.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from app import create_app
from app.config import Settings
from app.redis import queue

ROOT = Path(__file__).parent.parent
MAP = ROOT / "docs" / "architecture.md"
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]

# these import nothing of the product, and every room may import them
GROUND = {"event_columns", "exceptions", "support", "version"}
# what a room may import besides itself; a new arrow must also be added to docs/architecture.md
ARROWS = {
    "event_columns": set(),
    "exceptions": set(),
    "support": set(),
    "version": set(),
    "config": GROUND,
    "schemas": GROUND,
    "store": GROUND | {"exports"},  # the layout of a file decides what a query selects
    "storage": GROUND,
    "exports": GROUND,
    "redis": GROUND,
    "ops": GROUND | {"config"},
    "services": GROUND | {"config", "schemas", "store", "storage", "exports", "redis"},
    "jobs": {"services"},
    "auth": GROUND | {"services"},
    "api": GROUND | {"schemas", "services", "auth"},
    "admin": GROUND | {"schemas", "services", "auth", "exports"},
    "cli": GROUND | {"schemas", "scheduler", "services", "ops", "store"},
    "hot_path": GROUND | {"services", "auth", "api", "ops"},
    "factory": GROUND | {"hot_path", "config", "store", "services", "ops", "auth", "api", "admin", "cli"},
    "scheduler": {"config", "exceptions", "ops", "services"},
    "worker": {"config", "exceptions", "jobs", "ops", "redis", "services", "store"},
    "wsgi": {"factory", "exceptions", "ops"},
}

# nouns divide `services`, `store` and `admin`; each may import those below it in the same room
NOUNS = {
    "people": set(),
    "access": {"people"},
    "catalog": {"people", "access"},
    "events": {"people", "access", "catalog"},
    "reports": {"people", "access", "catalog", "events"},
    "notifications": {"people", "access", "catalog", "events", "reports"},
    "schedules": {"people", "access", "catalog", "events", "reports", "notifications"},
    "alerts": {"people", "access", "catalog", "events", "reports", "notifications", "schedules"},
    "operations": {"people", "access", "catalog", "events", "reports", "notifications", "schedules", "alerts"},
}

# the rooms that may import an external library
OWNERS = {
    "flask": {"hot_path", "factory", "api", "admin", "auth", "cli", "ops"},
    "werkzeug": {"hot_path", "api", "admin", "auth", "ops"},
    "flask_httpauth": {"auth"},
    "click": {"cli"},
    "marshmallow": {"schemas", "api"},  # the API reads the schemas for its OpenAPI document
    "peewee": {"store"},
    "playhouse": {"store"},
    "psycopg": {"store"},
    "sqlite3": {"store"},
    "redis": {"redis", "worker"},
    "limits": {"redis"},
    "prometheus_client": {"api"},
    "pyarrow": {"exports"},
    "pyotp": {"services"},
    "rq": {"redis", "worker"},
    "apprise": {"services"},
    "cryptography": {"services"},
    "smtplib": {"services"},
    "http": {"services", "support", "ops"},  # for webhooks, and for the check that the web server responds
    "ssl": {"services", "support"},
    "authlib": {"services"},
    "joserfc": {"services"},
    "segno": {"admin"},
    "boto3": {"storage"},
    "botocore": {"storage"},
}

# modules outside the storage that may write to the disk, and what they write
WRITERS = {
    "app/config/": "the secret key",
    "app/ops": "the private folders, the lock and the supervisor's files",
    "app/store/backends/sqlite.py": "the database's file and its folder",
    "app/store/operations/sqlite_rows.py": "copies of the database's file, and the file that a restore builds",
    "app/cli/output_file.py": "the file given on the command line",
    "app/support/durability.py": "an open that flushes what is there",
}
PATH_WRITES = {"write_text", "write_bytes", "mkdir", "unlink", "touch", "rmdir", "chmod", "symlink_to", "hardlink_to"}
MODULE_WRITES = {
    "os": {
        "open",
        "mkdir",
        "makedirs",
        "remove",
        "unlink",
        "rename",
        "replace",
        "link",
        "symlink",
        "chmod",
        "truncate",
    },
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree", "chown"},
    "tempfile": {"mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory"},
}


@cache
def modules() -> list[Path]:
    """Return all modules of the product."""
    return [*sorted((ROOT / "app").rglob("*.py")), ROOT / "worker.py", ROOT / "wsgi.py"]


def room(path: Path) -> str:
    """Return the room of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "factory" if parts == ("app", "__init__") else parts[:2][-1]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Return the line and dotted name of everything that a module imports, including imports inside functions."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write it out"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def imported_room(name: str) -> str:
    """Return the room of a dotted name under `app`; `app.create_app` belongs to the factory."""
    second = name.split(".")[1]
    return second if second in ARROWS else "factory"


def writes(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each call that changes the disk."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            module = getattr(getattr(node.func, "value", None), "id", "")
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            on_path = isinstance(node.func, ast.Attribute) and name in PATH_WRITES
            if on_path or name in MODULE_WRITES.get(module, ()) or (name == "open" and is_for_writing(node)):
                yield node.lineno, name


def is_for_writing(call: ast.Call) -> bool:
    """Return whether a call of `open` has a mode that writes."""
    arguments = [*call.args[-2:], *(keyword.value for keyword in call.keywords)]
    modes = [value.value for value in arguments if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    return any(set(mode) & set("wax+") for mode in modes)


def test_every_room_has_its_arrows():
    assert {room(path) for path in modules()} == set(ARROWS)


@pytest.mark.parametrize("here", ARROWS)
def test_arrows_only_point_down(here):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        if room(path) == here
        for line, name in imports(path)
        if name.startswith("app.") and imported_room(name) not in ARROWS[here] | {here}
    ]
    assert not wrong


@pytest.mark.parametrize("room", ["services", "store"])
def test_a_noun_only_imports_nouns_below_it(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for noun, below in NOUNS.items()
        for path in (ROOT / "app" / room / noun).rglob("*.py")
        for line, name in imports(path)
        for other in NOUNS
        if name.startswith(f"app.{room}.{other}.") and other not in below | {noun}
    ]
    assert not wrong


def test_the_arrows_have_no_cycle():
    remaining = dict(ARROWS)
    while remaining:
        done = {name for name, below in remaining.items() if not below & set(remaining)}
        assert done, f"a cycle among {sorted(remaining)}"
        remaining = {name: below for name, below in remaining.items() if name not in done}


@pytest.mark.parametrize("outside", OWNERS)
def test_external_libraries_are_only_imported_by_their_rooms(outside):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        for line, name in imports(path)
        if name.split(".")[0] == outside and room(path) not in OWNERS[outside]
    ]
    assert not wrong


def test_only_the_storage_writes_to_the_disk():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} calls {name}"
        for path in modules()
        for line, name in writes(path)
        if room(path) != "storage" and not str(path.relative_to(ROOT)).startswith(tuple(WRITERS))
    ]
    assert not wrong


@pytest.mark.parametrize("writer", WRITERS)
def test_every_listed_exception_still_writes(writer):
    paths = [path for path in modules() if str(path.relative_to(ROOT)).startswith(writer)]
    assert any(True for path in paths for _ in writes(path)), f"{writer} no longer writes, so remove it from the list"


def test_the_queue_s_targets_exist():
    for target in (queue.WORK, queue.HELP):
        module, name = target.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(module), name))


def test_building_the_application_connects_to_nothing(tmp_path):
    unreachable = {"database_url": "postgresql://127.0.0.1:1/tally", "redis_url": "redis://127.0.0.1:1"}
    create_app(Settings(data_dir=tmp_path, secret_key="a secret for the tests", **unreachable))


def named_paths(document: Path, pattern: str) -> set[str]:
    """Return the paths under `app/` that a document names in backticks."""
    return set(re.findall(rf"`(app/{pattern})`", document.read_text()))


def test_workers_and_the_scheduler_do_not_load_the_web_application():
    code = "import sys, worker, app.scheduler; print({'flask', 'app.api', 'app.admin'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "set()"


def test_the_map_names_exactly_the_packages():
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in modules() if path.is_relative_to(ROOT / "app")}
    assert named_paths(MAP, r"[\w/]+/") == packages - {"app/"}


def test_the_map_names_every_top_level_module():
    top = {str(path.relative_to(ROOT)) for path in (ROOT / "app").glob("*.py")}
    assert top <= named_paths(MAP, r"\w+\.py")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_that_a_document_names_exists(document):
    assert {path for path in named_paths(document, r"[\w/]+\.py") if not (ROOT / path).is_file()} == set()
