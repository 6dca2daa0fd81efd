"""An analyst who starts reports on a running service while processes are killed, and checks the files.

The database creates the events, so the exact bytes of a report's file are known without the service.
"""

from __future__ import annotations

import functools
import hashlib
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
import zstandard

from app.services.reports import part_writer
from app.store import database as store
from app.store.catalog import catalog
from tests.faults.conftest import Service
from tests.support import rows
from tests.support.client import FIRST
from tests.support.running import wait_until

ADMIN = ("admin", "correct horse battery")
OURS = {"customer": "BARCHART", "product": "PORTFOLIO"}
OUTPUT = {"layout": "positional", "delimiter": "|"}
AWAY_SECONDS = 90  # during which a request is repeated, because the server may have been killed
CLEAN_SECONDS = 120  # until everything of killed processes is removed; the cleanup ignores files younger than a minute

# A worker.py that writes blocks of a report slowly, so that short reports can be interrupted.
SLOW_WORKER = """
import sys, time
sys.path.remove(__file__.rpartition("/")[0])  # the next worker.py is the real one
import worker
from app.services.reports import part_writer, runner

def slow_blocks(*given):
    for block in blocks(*given):
        time.sleep({pause})
        yield block

blocks, part_writer.blocks = part_writer.blocks, slow_blocks
part_writer.PART_ROWS, part_writer.WHOLE_ROWS = {part_rows}, {whole_rows}
{settings}
worker.main()
"""


def slow_worker(
    settings: str = "",
    pause: float = 0.1,
    part_rows: int = part_writer.PART_ROWS // 10,
    whole_rows: int = part_writer.WHOLE_ROWS // 10,
) -> str:
    """Return the text of a slow worker.py. Without arguments its reports may be a tenth as long as real ones.

    Args:
        settings: further statements.
        pause: seconds before each block.
        part_rows, whole_rows: rows of a part, and of a report that is written in one part.
    """
    return SLOW_WORKER.format(settings=settings, pause=pause, part_rows=part_rows, whole_rows=whole_rows)


Clean = Callable[[int], bool]  # whether the storage has this many report files and nothing else
Content = Callable[[dict], bytes]  # returns the file of a job


class Analyst:
    """A client with accepted reports.

    Args:
        clean: checks the storage, by default the folder of the service.
        content: fetches a file, by default by a link.
    """

    def __init__(self, service: Service, clean: Clean | None = None, content: Content | None = None) -> None:
        self.service = service
        self._promised: list[dict] = []
        self._checked = 0
        self._clean = clean or self._folder_is_clean
        self._content = content or self._by_link
        self._sizes: dict[str, int] = {}  # rows by source
        self._session = requests.Session()

    def start(self, count: int) -> dict:
        """Start a report of the first events, and return its job once it is accepted."""
        wanted = {"filter": OURS | {"end": FIRST + count}, "output": OUTPUT}
        answer = requests.post(f"{self.service.running.url}/reports", json=wanted, auth=ADMIN, timeout=30)
        assert answer.status_code == 200, answer.text
        return self.promised(answer.json(), count)

    def promised(self, job: dict, count: int) -> dict:
        """Record an accepted report."""
        self._promised.append(job)
        self._sizes[job["source"]] = count
        return job

    def get(self, path: str) -> requests.Response:
        """Repeat a request until the response is 200, because the web server or its database may be unavailable."""
        answers: list[requests.Response] = []
        url = path if path.startswith("http") else self.service.running.url + path
        headers = {"Accept": "application/json"}

        def is_answered() -> bool:
            try:
                answers.append(self._session.get(url, auth=ADMIN, timeout=30, headers=headers))
            except requests.RequestException:
                return False
            return answers[-1].status_code == 200

        wait_until(is_answered, AWAY_SECONDS)
        return answers[-1]

    def status(self, job: dict) -> str:
        return self.get(f"/reports/{job['source']}/availability").json()["status"]

    def progress(self, job: dict) -> dict:
        return self.get(f"/reports/{job['source']}/progress").json()

    def attempt(self, job: dict) -> int:
        return self.progress(job).get("attempt", 0)

    def until_at_work(self, job: dict) -> int:
        """Return the attempt in progress, once it has written some rows."""
        wait_until(lambda: self.attempt(job), AWAY_SECONDS)
        time.sleep(random.uniform(0, 0.4))
        return self.attempt(job)

    def until_begun_again(self, job: dict, attempt: int, seconds: float) -> float:
        """Return the seconds until another attempt is in progress, or the report is complete."""
        began = time.monotonic()
        wait_until(lambda: self.attempt(job) > attempt or self.status(job) != "RUNNING", seconds)
        return time.monotonic() - began

    def check(self, seconds: float = 180) -> None:
        """Wait for every report, and fail unless each has its rows in one file and nothing else is left."""
        for job in self._promised[self._checked :]:
            wait_until(lambda job=job: self.status(job) != "RUNNING", seconds)
            self._check(job)
            self._checked += 1
        wait_until(lambda: self._clean(self._checked), CLEAN_SECONDS)

    def _check(self, job: dict) -> None:
        count = self._sizes[job["source"]]
        progress = self.progress(job)
        assert self.status(job) == "COMPLETE", progress
        file = progress["file"]
        content = self._content(job)
        assert (file["rows"], file["bytes"]) == (count, len(content)), file
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        lines = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True)
        is_compressed = job.get("output", {}).get("compression") == "zstd"
        assert hashlib.file_digest(lines if is_compressed else io.BytesIO(content), "sha256").hexdigest() == sha256_of(
            count
        )

    def _by_link(self, job: dict) -> bytes:
        link = self.get(f"/reports/{job['source']}").json()["link"]
        return requests.get(link, timeout=60).content

    def _folder_is_clean(self, number: int) -> bool:
        return len(files(self.service.running.data / "reports")) == number


def files(folder: Path) -> list[Path]:
    """Return all files and folders below a folder."""
    return [path for path in folder.rglob("*") if not path.is_dir()]


@functools.cache
def sha256_of(count: int) -> str:
    """Return the hash of the file that a report of the first events must have."""
    digest = hashlib.sha256()
    for line in _lines(count):
        digest.update(line)
    return digest.hexdigest()


def _lines(count: int) -> Iterator[bytes]:
    for number in range(1, count + 1):
        item = '"a ""quoted"" | item"' if number % 100 == 0 else f"user-{number}"
        yield f"{FIRST + number}|{rows.TYPE}|{item}|Overview|\n".encode()


def fill(service: Service, count: int) -> None:
    """Insert events into the database of a running service, as if they had been accepted."""
    url = service.postgres.url if service.postgres else f"sqlite:///{service.database}"
    store.open_database(url)
    try:
        rows.fill(count)
        catalog.note_seen([(*OURS.values(), rows.TYPE, 100)], FIRST)
    finally:
        store.release()
        if hasattr(store.database.obj, "close_all"):
            store.database.close_all()
