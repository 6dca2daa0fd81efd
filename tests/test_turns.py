"""Which tests a run leaves out because their twin on the other database runs, and the order of the others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.turns import OTHERS, in_order, is_of_its_database, tried_by_turns

DATABASES = ("sqlite", "postgresql")
SOAK = "pytest.mark.soak"


class Item:
    """A test on a database, as far as the selection looks at it."""

    def __init__(self, name: str, database: str, value: str = "", *marks: str) -> None:
        values = f"{database}-{value}" if value else database
        self.nodeid = f"tests/{name}[{values}]"
        self.callspec = SimpleNamespace(id=values, params={"database_url": database})
        self._marks = marks

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self._marks else None


def kept(*items: Item) -> list[str]:
    return [item.callspec.id for item in items if item not in tried_by_turns(list(items))]


def test_tests_that_wait_are_followed_by_others_and_no_group_is_torn():
    plain = [Item(f"api/test_{number}.py::test_{name}", "sqlite") for number in range(2 * OTHERS + 1) for name in "xy"]
    processes = [
        Item(f"faults/test_a.py::test_{name}", "sqlite", "", *marks)
        for name, marks in (("x", ["processes"]), ("y", []))
    ]
    browser = [Item("browser/test_b.py::test_x", "sqlite", "", "browser"), Item("browser/test_c.py::test_x", "sqlite")]
    each = 2 * OTHERS
    assert in_order([*plain, *processes, *browser]) == [
        *browser,
        *plain[:each],
        *processes,
        *plain[each:],
    ]


@pytest.mark.parametrize("room", ["admin", "api", "cli", "processes", "security", "services"])
def test_rooms_without_a_database_try_one_test_on_one_and_the_next_on_the_other(room):
    tests = [Item(f"{room}/test_a.py::test_{name}", one) for name in "xyz" for one in DATABASES]
    assert kept(*tests) == ["sqlite", "postgresql", "sqlite"]


def test_the_store_is_tried_on_both_databases():
    assert kept(*[Item("store/test_a.py::test_x", one) for one in DATABASES]) == list(DATABASES)


def test_a_marked_test_is_tried_on_both_databases():
    assert kept(*[Item("services/test_a.py::test_x", one, "", "both_databases") for one in DATABASES]) == [*DATABASES]


def test_each_parameter_of_a_test_is_tried_on_one_database():
    tests = [Item("store/test_a.py::test_x", one, value) for one in DATABASES for value in "abc"]
    assert sorted(kept(*tests)) == ["postgresql-b", "sqlite-a", "sqlite-c"]


def test_a_test_with_one_database_only_is_never_left_out():
    tests = [Item("api/test_a.py::test_x", "postgresql", value) for value in "abc"]
    assert len(kept(*tests)) == 3


def test_a_test_without_a_database_is_never_left_out():
    item = SimpleNamespace(nodeid="tests/api/test_a.py::test_x")
    assert not tried_by_turns([item])


def test_a_module_that_names_its_database_runs_on_it_alone():
    items = [Item("api/test_a.py::test_x", one) for one in DATABASES]
    for item in items:
        item.module = SimpleNamespace(DATABASE="postgresql")
    assert [is_of_its_database(item) for item in items] == [False, True]


def left_to_soak(path: Path) -> Iterator[str]:
    """Yield the docstring, or nothing, of each test, class and module of a file that only `make soak` runs."""
    module = ast.parse(path.read_text())
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and SOAK in map(ast.unparse, node.decorator_list):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and SOAK in ast.unparse(node):
            yield ast.get_docstring(module) or ""


def test_what_only_make_soak_runs_says_what_holds_its_promise_in_make_test():
    paths = [path for path in Path(__file__).parent.rglob("test_*.py") if "mark.soak" in path.read_text()]
    found = [(path.name, text) for path in paths if path != Path(__file__) for text in left_to_soak(path)]
    assert len(found) > 10
    assert [name for name, text in found if "`make test`" not in text] == []
