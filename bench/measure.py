"""Figures about the code: its size, how many modules an event and a report pass, and helpers with a single caller.

Run `python -m bench.measure`. The event and the report are traced on SQLite, in this process.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from app import create_app
from app.config import Settings
from app.services.people.accounts import SYSTEM
from app.store import database
from app.store.events import hourly_counts

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"
FIELDS = ("customer", "product", "type", "version", "timestamp", "context", "sequence", "batch", "received")


def lines(folder: str) -> int:
    """Return the number of lines of the Python files in a folder."""
    return sum(len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py"))


def trace(act: Callable[[], object]) -> tuple[set[str], set[str]]:
    """Return the modules and the functions of the product that run, in all threads, while `act` does."""
    calls: set[tuple[str, str]] = set()

    def note(frame: object, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(APP)):
            calls.add((code.co_filename, code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {name for name, _ in calls}, {f"{name}:{function}" for name, function in calls}


def single_callers() -> tuple[int, int]:
    """Return the number of private functions that are named once beside their definition, and of all private ones."""
    named, defined = Counter(), []
    for path in APP.rglob("*.py"):
        text = path.read_text()
        found = [
            node.name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and re.fullmatch(r"_[a-z]\w*", node.name)
        ]
        words = Counter(re.findall(r"\b_[a-z]\w*", text))
        named.update({(path, name): words[name] - 1 for name in found})
        defined += [(path, name) for name in found]
    return sum(named[one] == 1 for one in defined), len(defined)


def main() -> None:
    """Print the figures."""
    print(f"lines: app {lines('app')}, tests {lines('tests')}, bench {lines('bench')}")
    once, private = single_callers()
    print(f"private helpers: {private}, of which {once} ({once / private:.0%}) have a single caller")
    files = [path for path in APP.rglob("*.py") if all(re.search(rf"\b{name}\b", path.read_text()) for name in FIELDS)]
    print(f"modules that name every field of an event: {len(files)}")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), secret_key="a secret for the figures", redis_url="redis://127.0.0.1:1"
        )
        app = create_app(settings)
        database.upgrade()
        services, client = app.extensions["services"], app.test_client()
        event = {"customer": "C", "product": "P", "type": "T", "timestamp": 1_793_000_000_000, "context": ["1", None]}
        for _ in range(2):  # afterwards the process knows the event's codes, as it does in almost every request
            client.post("/events", json=[event])
            while hourly_counts.advance():
                pass
        modules, functions = trace(lambda: client.post("/events", json=[event]))
        print(f"an event passes {len(modules)} modules and {len(functions)} functions")
        job = services.reports.start(SYSTEM, {"customer": "C", "product": "P"}, None).job
        modules, functions = trace(lambda: services.runner.run(job))
        print(f"the writing of a report passes {len(modules)} modules and {len(functions)} functions")
    if find_spec("mypy"):
        command = [sys.executable, "-m", "mypy", "--strict", "app"]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"mypy --strict: {checked.stdout.strip().splitlines()[-1]}")


if __name__ == "__main__":
    main()
