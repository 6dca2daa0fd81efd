"""Writing rows into the storage, for whoever does: the attempt that holds a report, or a helper with a part of it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from app.exceptions import StoreUnavailable
from app.exports.file import ReportFile
from app.services.reports.formats import Output, blocks, head, selection
from app.storage import Storage, Upload
from app.store.events import select
from app.store.models import Report, ReportPart
from app.store.reports import parts
from app.store.reports import reports as store


@dataclass(frozen=True)
class Written:
    """Result of writing rows. The hash of a part is not needed.

    Attributes:
        etag: see `Upload.commit`.
    """

    rows: int
    bytes: int
    sha256: str | None
    etag: str | None = None


class PartWriter:
    """Writes one thing at a time, and tells another thread how far it is.

    Args:
        report: planned, or about to be.
        worker: whose pen it is.
        storage: where parts go.
    """

    def __init__(self, report: Report, worker: str, storage: Storage) -> None:
        self._report = report
        self._worker = worker
        self._storage = storage
        self._output = Output.of(report.output)
        self._part: tuple[ReportPart, str] | None = None
        self._word = threading.Lock()  # a sign of life behind the last word would find the part taken
        self._file: ReportFile | None = None

    @property
    def rows(self) -> int:
        """How many rows of what is being written are written."""
        return self._file.rows if self._file else 0

    def note(self) -> bool:
        """Write a sign of life on the part that is being written; False where it is another's now."""
        with self._word:
            return self._part is None or parts.note(*self._part, rows=self.rows)

    def write(
        self, rows: select.Selection, upload: Upload, check: Callable[[], None], part: ReportPart | None = None
    ) -> Written:
        """Write rows into a new file, which appears complete or not at all.

        Args:
            upload: a new upload.
            check: raises when the attempt must stop.
            part: the part of a longer file to write.

        Raises:
            RowTooWide: the report must be planned again.
        """
        try:
            with ReportFile(upload, self._output.compressor(), is_part=part is not None) as file:
                self._file = file
                if (part is None or part.number == 0) and (line := head(self._report, self._output)):
                    file.add(line)
                # Closed however it ends, before anything else is asked: rows under way keep the connection.
                with closing(blocks(self._report, self._output, rows)) as made:
                    for data, number in made:
                        file.add(data, number)
                        check()
                file.close()
            check()
            etag = upload.commit()
        except BaseException:
            upload.abort()
            raise
        return Written(file.rows, file.bytes, file.sha256, etag)

    def write_next(self, check: Callable[[], None]) -> bool:
        """Write the next part that nobody writes; False where there is none."""
        token = secrets.token_hex(8)
        part = parts.claim(self._report.job, token, self._worker)
        if part is None:
            return False
        self._file, self._part = None, (part, token)
        self._report.width = store.by_job(part.job).width  # the plan of this part, which may have changed
        try:
            self._write_part(part, token, check)
        except BaseException:
            with suppress(StoreUnavailable):  # then it is given up for its silence
                parts.give_back(part, token)
            raise
        finally:
            self._part = self._file = None
        return True

    def _write_part(self, part: ReportPart, token: str, check: Callable[[], None]) -> None:
        key = f"{part.job}.{token}.part"
        rows = selection(self._report).between(part.start, part.end)
        written = self.write(rows, self._storage.create(key, check=check), check, part)
        with self._word:
            kept = parts.note(part, token, rows=written.rows, bytes=written.bytes, file=key, done=True)
            self._part = None
        if kept:
            store.note_part(part.job)
        else:
            self._storage.discard(key)  # it was somebody else's by then
