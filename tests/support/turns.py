"""Which tests run on which database, which of them share a process, and in which order they run."""

from __future__ import annotations

from collections import Counter

import pytest
from xdist.scheduler import LoadScopeScheduling

# rooms independent of the database; tests that depend on its locks and transactions are marked
ROOMS = ("admin", "api", "backup", "cli", "processes", "security", "services")
KNOW_NO_DATABASE = tuple(f"tests/{room}/" for room in ROOMS)
TOGETHER = ("tests/browser", "tests/flows", "tests/install")  # folders whose files share a service or packages
OTHERS = 3  # groups that follow each one with browsers or processes


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


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items in the order in which they run, by group: browsers first, because their group takes
    longest.

    Tests wait for browsers and real processes, and use the processors little. Each of their groups is followed by some
    of the others, so that another process runs those meanwhile.
    """
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group(item.nodeid), []).append(item)
    waiting = [name for name in groups if _waits(groups[name])]
    waiting.sort(key=lambda name: not any(item.get_closest_marker("browser") for item in groups[name]))
    others = [name for name in groups if name not in waiting]
    order: list[str] = []
    for place, name in enumerate(waiting):
        order += [name, *others[place * OTHERS : (place + 1) * OTHERS]]
    order += others[len(waiting) * OTHERS :]
    return [item for name in order for item in groups[name]]


def group(nodeid: str) -> str:
    """Return the file of a test, or its folder if that is one of `TOGETHER`."""
    path = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if path.startswith(f"{folder}/")), path)


def _waits(items: list[pytest.Item]) -> bool:
    return any(item.get_closest_marker(name) for item in items for name in ("browser", "processes"))


class ByService(LoadScopeScheduling):
    """Gives all tests of a group to one process, so that no shared fixture starts twice."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
