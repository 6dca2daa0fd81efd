"""Which tests run on which database, and which of them share a process."""

from __future__ import annotations

from collections import Counter

import pytest
from xdist.scheduler import LoadScopeScheduling

# rooms independent of the database; tests that depend on its locks and transactions are marked
ROOMS = ("admin", "api", "backup", "cli", "processes", "security", "services")
KNOW_NO_DATABASE = tuple(f"tests/{room}/" for room in ROOMS)
TOGETHER = ("tests/browser", "tests/flows", "tests/install")  # folders whose files share a service or packages


def is_of_its_database(item: pytest.Item) -> bool:
    """Whether a test runs on the only database that its module needs, which is its `DATABASE`."""
    only = getattr(getattr(item, "module", None), "DATABASE", None)
    tried = item.callspec.params.get("database_url") if hasattr(item, "callspec") else None
    return only is None or tried in (None, only)


def tried_by_turns(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the items to leave out because their twin on the other database runs.

    A test with several parameters runs on one database for each. A test of a room that does not depend on the database
    runs on one database, and the next test of its module on the other.
    """
    twins: dict[tuple[str, str, str], list[pytest.Item]] = {}
    for item in items:
        if hasattr(item, "callspec") and (database := item.callspec.params.get("database_url")):
            module, _, test = item.nodeid.partition("[")[0].partition("::")
            twins.setdefault((module, test, item.callspec.id.replace(database, "", 1)), []).append(item)
    values = Counter((module, test) for module, test, _ in twins)
    turns: Counter[tuple[str, str]] = Counter()
    dropped = set()
    for (module, test, _), both in twins.items():
        knows_none = module.startswith(KNOW_NO_DATABASE) and not both[0].get_closest_marker("both_databases")
        if len(both) == 2 and (knows_none or values[module, test] > 1):
            taking_turns = (module, "" if knows_none else test)
            turns[taking_turns] += 1
            dropped.add(both[turns[taking_turns] % 2])
    return dropped


class ByService(LoadScopeScheduling):
    """Gives all tests of a file to one process, and those of each folder of `TOGETHER` to one, so that no shared
    fixture starts twice.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if path.startswith(f"{folder}/")), path)
