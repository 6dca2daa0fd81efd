"""What the tests of reports share: a report that waits for a worker, and the folder of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from app.redis.queue import NAME
from app.services.people.principal import SYSTEM
from app.services.reports import part_writer, planning
from app.store.models import Report, ReportPart
from tests.support.client import FIRST, event

PART_ROWS = 100
LONG_ROWS = 1_000

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
    made = part_writer.blocks

    def change(through: Through) -> None:
        def blocks(*args: object) -> Iterator[tuple[bytes, int]]:
            with closing(made(*args)) as unchanged:
                for line in through(line for data, _ in unchanged for line in data.splitlines(keepends=True)):
                    yield line, 1

        monkeypatch.setattr(part_writer, "blocks", blocks)

    return change


@pytest.fixture
def release(services) -> Callable[[str], None]:
    """Take a report from its attempt, as the sweep does when it is silent."""
    return lambda job: services.reports.cleanup.release(Report.get(Report.job == job), "It was silent.")


@pytest.fixture
def begin(services) -> Callable[..., str]:
    """Accept a report of the products' events: `begin({"format": "csv"}, start=…)`; its job."""

    def start(output: dict | None = None, **filter: object) -> str:
        wanted = {"customer": "BARCHART", "product": "PORTFOLIO"} | filter
        return services.reports.start(SYSTEM, wanted, output).job

    return start


@pytest.fixture
def content(services, row) -> Callable[[str], bytes]:
    """The bytes of a complete report's file."""

    def read(job: str) -> bytes:
        with closing(services.reports.open(row(job))) as stream:
            return stream.read()

    return read


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Reports are cut into parts of about a hundred rows."""
    monkeypatch.setattr(planning, "PART_ROWS", PART_ROWS)
    monkeypatch.setattr(planning, "WHOLE_ROWS", PART_ROWS * 5 // 4)


@pytest.fixture
def long_job(admin, begin, small_parts) -> str:
    """A report of ten parts, which waits."""
    admin.send(*[event(timestamp=FIRST + number, context=[str(number)]) for number in range(LONG_ROWS)])
    return begin()


@pytest.fixture
def whole() -> bytes:
    """What the file of `long_job` must be."""
    return b"".join(b"%d|PORTFOLIO-APPLICATION-LOADED|%d\n" % (FIRST + n, n) for n in range(LONG_ROWS))


@pytest.fixture
def written(monkeypatch) -> list[int]:
    """The numbers of the parts that were written, in the order in which they were begun; a test may clear it."""
    numbers = []
    write = part_writer.PartWriter.write_part

    def noted(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        numbers.append(part.number)
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", noted)
    return numbers


class Queued:
    """What waits in Redis."""

    def __init__(self, url: str) -> None:
        self._queue = Queue(NAME, connection=Redis.from_url(url), serializer=JSONSerializer)

    def __call__(self) -> list[tuple[str, str]]:
        """The target of each call, and the report that it names, in order."""
        return [(job.func_name, job.id.partition("_")[0]) for job in self._queue.jobs]

    def clear(self) -> None:
        self._queue.empty()

    def register(self, workers: int) -> None:
        for _ in range(workers):
            Worker([self._queue], connection=self._queue.connection).register_birth()


@pytest.fixture
def queued(redis_url: str) -> Queued:
    return Queued(redis_url)


@pytest.fixture
def registered(queued) -> Callable[[int], None]:
    """Let Redis know of so many workers."""
    return queued.register
