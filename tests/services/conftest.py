"""Fixtures for reports: waiting reports, their rows in the database, their files and the queue."""

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
from app.services.reports import part_writer
from app.store.models import Report, ReportPart
from tests.support.client import FIRST, event

PART_ROWS = 100
LONG_ROWS = 1_000

LineFilter = Callable[[Iterator[bytes]], Iterator[bytes]]


@pytest.fixture
def job(admin) -> str:
    """A waiting report of three events."""
    admin.send(*[event(context=[str(number)]) for number in range(3)])
    return admin.start_report()["job"]


@pytest.fixture
def row(app) -> Callable[[str], Report]:
    """Return a function that reads the row of a report."""
    return lambda job: Report.get(Report.job == job)


@pytest.fixture
def files(settings) -> Callable[[], list[str]]:
    """Return a function that lists the folder of the report files."""
    folder = Path(settings.storage.removeprefix("file://"))
    return lambda: sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def wrap_lines(monkeypatch) -> Callable[[LineFilter], None]:
    """Return a function that sets a filter for the lines of every report: `wrap_lines(lines -> lines)`."""
    unchanged_blocks = part_writer.blocks

    def change(transform: LineFilter) -> None:
        def blocks(*args: object) -> Iterator[tuple[bytes, int]]:
            with closing(unchanged_blocks(*args)) as unchanged:
                for line in transform(line for data, _ in unchanged for line in data.splitlines(keepends=True)):
                    yield line, 1

        monkeypatch.setattr(part_writer, "blocks", blocks)

    return change


@pytest.fixture
def release(services) -> Callable[[str], None]:
    """Return a function that releases a report as the cleanup does when its attempt is silent."""
    return lambda job: services.reports.cleanup.release(Report.get(Report.job == job), "It was silent.")


@pytest.fixture
def begin(services) -> Callable[..., str]:
    """Return a function that accepts a report and returns its job: `begin({"format": "csv"}, start=…)`."""

    def start(output: dict | None = None, **filter: object) -> str:
        report_filter = {"customer": "BARCHART", "product": "PORTFOLIO"} | filter
        return services.reports.start(SYSTEM, report_filter, output).job

    return start


@pytest.fixture
def content(services, row) -> Callable[[str], bytes]:
    """Return a function that reads the file of a complete report."""

    def read(job: str) -> bytes:
        with closing(services.reports.open(row(job))) as stream:
            return stream.read()

    return read


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Split reports into parts of about a hundred rows."""
    monkeypatch.setattr(part_writer, "PART_ROWS", PART_ROWS)
    monkeypatch.setattr(part_writer, "WHOLE_ROWS", PART_ROWS * 5 // 4)


@pytest.fixture
def long_job(admin, begin, small_parts) -> str:
    """A waiting report of ten parts."""
    admin.send(*[event(timestamp=FIRST + number, context=[str(number)]) for number in range(LONG_ROWS)])
    return begin()


@pytest.fixture
def expected_content() -> bytes:
    """The expected content of the file of `long_job`."""
    return b"".join(b"%d|PORTFOLIO-APPLICATION-LOADED|%d\n" % (FIRST + n, n) for n in range(LONG_ROWS))


@pytest.fixture
def written_parts(monkeypatch) -> list[int]:
    """The numbers of the parts in the order in which their writing started. A test may clear the list."""
    numbers = []
    write = part_writer.PartWriter.write_part

    def record(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        numbers.append(part.number)
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", record)
    return numbers


class Queued:
    """The jobs in the Redis queue."""

    def __init__(self, url: str) -> None:
        self._queue = Queue(NAME, connection=Redis.from_url(url), serializer=JSONSerializer)

    def __call__(self) -> list[tuple[str, str]]:
        """Return the function and the report of each job, in order."""
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
def register_workers(queued) -> Callable[[int], None]:
    """Return a function that registers workers in Redis."""
    return queued.register
