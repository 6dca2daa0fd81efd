"""What the tests of reports share: a report that waits for a worker, and the folder of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.services import pen
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
    made = pen.blocks

    def change(through: Through) -> None:
        def blocks(*args: object) -> Iterator[tuple[bytes, int]]:
            with closing(made(*args)) as unchanged:
                for line in through(line for data, _ in unchanged for line in data.splitlines(keepends=True)):
                    yield line, 1

        monkeypatch.setattr(pen, "blocks", blocks)

    return change


@pytest.fixture
def release(services) -> Callable[[str], None]:
    """Take a report from its attempt, as the sweep does when it is silent."""
    return lambda job: services.reports._sweeper.release(Report.get(Report.job == job), "It was silent.")
