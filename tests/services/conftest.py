"""What the tests of reports share: a report that waits for a worker, and the folder of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.services import attempt
from app.store.models import Report
from tests.support.client import event

Through = Callable[[Iterator[bytes]], Iterator[bytes]]


@pytest.fixture
def job(admin) -> str:
    """A report about three events, which waits."""
    admin.send(*[event(context=[str(number)]) for number in range(3)])
    return admin.start_report()["job"]


@pytest.fixture
def row(app) -> Callable[[str], Report]:
    """A report as the database has it now."""
    return lambda job: Report.get(Report.job == job)


@pytest.fixture
def files(settings) -> Callable[[], list[str]]:
    """The names of everything in the folder of the report files."""
    folder = Path(settings.storage.removeprefix("file://"))
    return lambda: sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def along(monkeypatch) -> Callable[[Through], None]:
    """Do something between the lines of every report: `along(lines -> lines)`."""
    made = attempt._lines

    def change(through: Through) -> None:
        def lines(*args: object) -> Iterator[bytes]:
            with closing(made(*args)) as unchanged:
                yield from through(unchanged)

        monkeypatch.setattr(attempt, "_lines", lines)

    return change
