"""Events from a file: chunk by chunk, each in one transaction with how far the import is.

So an import that was interrupted at any moment goes on where it was, and stores nothing twice. Lines that are invalid
stand among the rejected events, kept in the same transaction, and do not stop it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO

import orjson

from app.exceptions import ImportOvertaken
from app.exports import reading
from app.exports.reading import Chunk
from app.schemas.events import Batch, Rejected
from app.services.catalog.lookup import Catalog
from app.services.events import rejected
from app.services.events.import_formats import LOOKED_AT, Csv, Form, form_of
from app.services.events.ingest import as_row, as_stored, sightings
from app.services.people.audit import Audit
from app.services.people.principal import SYSTEM
from app.storage.reading import content, fingerprint
from app.store.database import release, transaction
from app.store.events import imports
from app.store.events import rejected as rejects
from app.store.events import select as store
from app.store.events.writer import GroupCommitWriter, WriteRequest
from app.support.clock import now

KEPT_REJECTS = 1_000  # of one chunk; the rest are only counted, as a file of garbage must not fill the disk
ORIGIN = "import of "  # stands where the request's id stands for rejected events that came in one


@dataclass(frozen=True)
class Source:
    """A file to import, at its beginning.

    Attributes:
        name: for people.
        csv: how it is read if it is CSV; None: it is NDJSON.
        resumes: whether it can be read again, so that an interrupted import can go on.
    """

    file: BinaryIO
    name: str
    csv: Csv | None = None
    resumes: bool = True

    def identity(self) -> str:
        """By which the same file, read the same way, is known again."""
        form = self.csv and [self.csv.customer, self.csv.product, self.csv.delimiter, self.csv.header]
        if self.csv and self.csv.layout:
            form.append(self.csv.layout)
        return hashlib.sha256(orjson.dumps([fingerprint(self.file), form])).hexdigest()


@dataclass(frozen=True)
class Progress:
    """How far an import is.

    Attributes:
        offset: in the file's decompressed content; what stands before it is done.
        line: the next one.
        events: stored.
        rejected: lines refused.
        finished: since when there is no more, in milliseconds; None: it goes on.
    """

    offset: int = 0
    line: int = 1
    events: int = 0
    rejected: int = 0
    finished: int | None = None


class Importing:
    """Imports of one process.

    Args:
        writer: one that sets nothing aside: an import waits for the database, or is run again.
    """

    def __init__(self, catalog: Catalog, writer: GroupCommitWriter) -> None:
        self._catalog = catalog
        self._writer = writer
        self._audit = Audit()

    def run(self, source: Source, *, again: bool = False) -> Iterator[Progress]:
        """Import a file.

        Args:
            again: import it once more if it was imported to its end before.

        Yields:
            How far it is: before it begins, after each commit, and at last `finished`. A file that was imported to
            its end before is so at once.

        Raises:
            InputInvalid: the file is not what it must be; nothing was stored.
            BodyMalformed: its compressed content is broken; what came before that is stored.
            ImportOvertaken: somebody else imports the same file at this moment.
            StoreUnavailable: the database is away; the import goes on when it is run again.
        """
        identity = source.identity() if source.resumes else None
        progress = _begin(identity, source.name, again=again) if identity else Progress()
        yield progress
        if progress.finished:
            return
        form = form_of(source.csv, self._catalog.naming)
        for chunk in _chunks(source, form, progress):
            progress = self._store(chunk, form, progress, source.name, identity)
            yield progress
        done = now()
        with transaction():
            if identity:
                imports.finish(identity, done)
            told = {"events": progress.events, "rejected": progress.rejected}
            self._audit.note(SYSTEM, "events imported", f"file {source.name}", told)
        yield replace(progress, finished=done)

    def _store(self, chunk: Chunk, form: Form, before: Progress, name: str, identity: str | None) -> Progress:
        batch = self._read(chunk, form)
        received, stored, refused = now(), len(batch.events), len(batch.rejected)
        rows = [rejected.row(one, received, "", ORIGIN + name) for one in batch.rejected[:KEPT_REJECTS]]
        after = Progress(chunk.end, chunk.lines[-1], before.events + stored, before.rejected + refused)

        def note() -> None:
            """In the transaction that stores the events."""
            if identity and not imports.advance(identity, before.offset, after.offset, after.line, stored, refused):
                raise ImportOvertaken("Somebody else imports this file at this moment. Run it again when they ended.")
            rejects.write(rows, refused - len(rows))

        self._writer.write(_entry(batch, received, note))
        return after

    def _read(self, chunk: Chunk, form: Form) -> Batch:
        """A chunk's events with their places in it, and its invalid records with their lines in the file."""
        whole = Batch([], [])
        filled = [index for index, record in enumerate(chunk.records) if record.strip()]
        for begin in range(0, len(filled), LOOKED_AT):
            some = filled[begin : begin + LOOKED_AT]
            batch = self._catalog.checked(form.read([chunk.records[index] for index in some]))
            whole.events.extend(batch.events)
            whole.places.extend([some[place - 1] + 1 for place in batch.places])
            whole.rejected.extend([_of_line(one, chunk.lines[some[one.place - 1]]) for one in batch.rejected])
        return whole


def _begin(identity: str, name: str, *, again: bool) -> Progress:
    if again:
        imports.forget(identity)
    row = imports.begin(identity, name, now())
    release()  # the writer has a connection of its own
    return Progress(row.offset, row.line, row.events, row.rejected, row.finished)


def _chunks(source: Source, form: Form, progress: Progress) -> Iterator[Chunk]:
    """The chunks that are left; of the file's first one, what are events."""
    if progress.offset:  # the start of the file determines how to read the rest
        form.begin(next(reading.chunks(content(source.file), form.cut)))
        source.file.seek(0)
    blocks = content(source.file, progress.offset)
    chunks = reading.chunks(blocks, form.cut, end=progress.offset, line=progress.line)
    if not progress.offset:
        yield from (form.begin(chunk) for chunk in islice(chunks, 1))
    yield from chunks


def _entry(batch: Batch, received: int, also: Callable[[], None]) -> WriteRequest:
    rows = [as_row(event, received) for event in as_stored(batch)]
    return WriteRequest(store.encode(rows), len(rows), received, sightings(batch.events), also=also)


def _of_line(one: Rejected, line: int) -> Rejected:
    """A rejected event of a file: its place is a line, and its faults say so."""
    here = f"events[{one.place - 1}]"
    faults = [
        replace(fault, message=fault.message.replace(f"{here}.", f"line {line}: ", 1).replace(here, f"line {line}", 1))
        for fault in one.field_errors
    ]
    return Rejected(line, one.text, faults)
