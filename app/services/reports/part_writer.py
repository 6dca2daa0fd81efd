"""Write a report's rows to storage, for the attempt that holds the report or for a helper that writes some parts."""

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
    """Writer of report files and parts, one at a time. Another thread may read its progress.

    Args:
        report: the report, which may not be planned yet.
        worker: the name of the worker that writes.
        storage: the storage of the parts.
    """

    def __init__(self, report: Report, worker: str, storage: Storage) -> None:
        self._report = report
        self._worker = worker
        self._storage = storage
        self._output = Output.of(report.output)
        self._part: tuple[ReportPart, str] | None = None
        self._word = threading.Lock()  # a heartbeat after the final update would find the part released
        self._file: ReportFile | None = None

    @property
    def rows(self) -> int:
        """Return the number of rows written so far to the current file."""
        return self._file.rows if self._file else 0

    def note(self) -> bool:
        """Record a heartbeat on the part being written. Return False if another worker holds the part."""
        with self._word:
            return self._part is None or parts.note(*self._part, rows=self.rows)

    def write(
        self, rows: select.Selection, upload: Upload, check: Callable[[], None], part: ReportPart | None = None
    ) -> Written:
        """Write rows to a new file, which appears only when it is complete.

        Args:
            upload: a new upload.
            check: raises when the attempt must stop.
            part: the part of a longer file to write.

        Raises:
            RowTooWide: a row exceeds the planned width, so the report must be planned again.
        """
        try:
            with ReportFile(upload, self._output.compressor(), is_part=part is not None) as file:
                self._file = file
                if (part is None or part.number == 0) and (line := head(self._report, self._output)):
                    file.add(line)
                # Always close the rows before the next query, because an open result keeps the connection busy.
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
        """Write the next open part. Return False if there is none."""
        token = secrets.token_hex(8)
        part = parts.claim(self._report.job, token, self._worker)
        if part is None:
            return False
        self._file, self._part = None, (part, token)
        self._report.width = store.by_job(part.job).width  # the plan may have changed since the report was read
        try:
            self._write_part(part, token, check)
        except BaseException:
            with suppress(StoreUnavailable):  # otherwise the part expires for lack of a heartbeat
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
            self._storage.discard(key)  # another worker had acquired the part
