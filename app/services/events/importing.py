"""Import of events from a file, chunk by chunk. Each chunk is stored in a transaction together with the progress.

An interrupted import therefore resumes where it stopped, and stores nothing twice. Invalid lines do not stop the
import; they are stored as rejected events in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO

import orjson

from app.exceptions import ImportOvertaken
from app.exports import reading
from app.exports.reading import Chunk
from app.schemas.events import Batch, Rejected
from app.services.catalog.code_limit import CodeLimit
from app.services.catalog.lookup import Catalog
from app.services.events import rejected
from app.services.events.import_formats import RECORDS_AT_ONCE, Csv, CsvForm, Form, LinesForm
from app.services.events.ingest import write_request
from app.services.people import audit
from app.services.people.principal import SYSTEM
from app.storage.reading import content, fingerprint
from app.store.database import release, transaction
from app.store.events import imports
from app.store.events import rejected as rejects
from app.store.events.writer import GroupCommitWriter
from app.support.clock import now

KEPT_REJECTS = 1_000  # per chunk; the rest are only counted, so that a file of garbage does not fill the disk
ORIGIN = "import of "  # prefix of the name that replaces the request id of rejected events


@dataclass(frozen=True)
class Source:
    """File to import, positioned at its start."""

    file: BinaryIO
    name: str  # the name shown to people
    csv: Csv | None = None  # options for reading CSV, or None for NDJSON
    resumes: bool = True  # whether the file can be read again, so that an interrupted import can resume

    def identity(self) -> str:
        """Return a hash that identifies the same file read with the same options."""
        form: list[object] | None = None
        if csv := self.csv:
            form = [csv.customer, csv.product, csv.delimiter, csv.header, *([csv.layout] if csv.layout else [])]
        return hashlib.sha256(orjson.dumps([fingerprint(self.file), form])).hexdigest()


@dataclass(frozen=True)
class Progress:
    """Progress of an import."""

    offset: int = 0  # offset in the file's decompressed content; everything before it is done
    line: int = 1  # the next line
    events: int = 0  # number of stored events
    rejected: int = 0  # number of rejected lines
    finished_at: int | None = None  # time in milliseconds at which the import ended, or None if it has not


class Importing:
    """Imports of a process. Their writer has no spool, because an import can wait for the database or be run again."""

    def __init__(self, catalog: Catalog, code_limit: CodeLimit, writer: GroupCommitWriter) -> None:
        self._catalog = catalog
        self._code_limit = code_limit
        self._writer = writer

    def run(self, source: Source, *, again: bool = False) -> Iterator[Progress]:
        """Import a file, `again` even if it was imported completely before.

        Yields:
            The progress before the import starts, after each commit, and finally with `finished_at` set. If the file
            was imported completely before, the first progress has `finished_at` set.

        Raises:
            InputInvalid: the file has the wrong form; nothing was stored.
            BodyMalformed: its compressed content is broken; the content before that is stored.
            ImportOvertaken: another process is importing the same file.
            StoreUnavailable: the database is unavailable; the import resumes when it is run again.
        """
        identity = source.identity() if source.resumes else None
        progress = Progress()
        if identity:
            if again:
                imports.forget(identity)
            row = imports.begin(identity, source.name, now())
            progress = Progress(row.offset, row.line, row.events, row.rejected, row.finished_at)
        yield progress
        if progress.finished_at:
            return
        form: Form = CsvForm(source.csv, self._catalog.naming(source.csv.product)) if source.csv else LinesForm()
        release()  # the writer uses its own connection
        for chunk in _chunks(source, form, progress):
            progress = self._store(chunk, form, progress, source.name, identity)
            yield progress
        done = now()
        with transaction():
            if identity:
                imports.finish(identity, done)
            details = {"events": progress.events, "rejected": progress.rejected}
            audit.note(SYSTEM, "events imported", f"file {source.name}", details)
        yield replace(progress, finished_at=done)

    def _store(self, chunk: Chunk, form: Form, before: Progress, name: str, identity: str | None) -> Progress:
        batch = self._read(chunk, form)
        received, stored, refused = now(), len(batch.events), len(batch.rejected)
        rows = [rejected.row(one, received, "", ORIGIN + name) for one in batch.rejected[:KEPT_REJECTS]]
        after = Progress(chunk.end, chunk.lines[-1], before.events + stored, before.rejected + refused)

        def record_progress() -> None:
            if identity and not imports.advance(identity, before.offset, after.offset, after.line, stored, refused):
                raise ImportOvertaken("Somebody else imports this file at this moment. Run it again when they ended.")
            rejects.write(rows, refused - len(rows))

        entry, _ = write_request(batch, received)
        entry.also = record_progress
        self._writer.write(entry)
        return after

    def _read(self, chunk: Chunk, form: Form) -> Batch:
        """Return a chunk's events with their places in it, and its invalid records with their lines in the file."""
        places: list[int] = []
        whole = Batch([], places)
        filled = [index for index, record in enumerate(chunk.records) if record.strip()]
        for begin in range(0, len(filled), RECORDS_AT_ONCE):
            some = filled[begin : begin + RECORDS_AT_ONCE]
            batch = form.read([chunk.records[index] for index in some])
            batch = self._catalog.checked(batch) if self._catalog.strict else self._code_limit.checked(batch)
            whole.events.extend(batch.events)
            places.extend([some[place - 1] + 1 for place in batch.places])
            whole.rejected.extend([_with_line(one, chunk.lines[some[one.place - 1]]) for one in batch.rejected])
        return whole


def _chunks(source: Source, form: Form, progress: Progress) -> Iterator[Chunk]:
    """Yield the remaining chunks. The file's first chunk is stripped of anything that is not an event."""
    if progress.offset:  # the start of the file determines how to read the rest
        form.begin(next(reading.chunks(content(source.file), form.cut)))
        source.file.seek(0)
    blocks = content(source.file, progress.offset)
    chunks = reading.chunks(blocks, form.cut, end=progress.offset, line=progress.line)
    if not progress.offset:
        yield from (form.begin(chunk) for chunk in islice(chunks, 1))
    yield from chunks


def _with_line(one: Rejected, line: int) -> Rejected:
    """Return a rejected event of a file with its line as its place, also in its field errors."""
    here = f"events[{one.place - 1}]"
    faults = [
        fault.with_message(fault.message.replace(f"{here}.", f"line {line}: ", 1).replace(here, f"line {line}", 1))
        for fault in one.field_errors
    ]
    return Rejected(line, one.text, faults)
