"""Archive of a backup: compressed files, and a manifest that is written last. Without its manifest it is no backup.

tally-20261129T181500.123Z/
    manifest.json           format, versions, migrations, rows of each table, bytes and SHA-256 of each file
    tables/event.tsv.zst    the rows of a table; see `app.store.operations.table_rows`
    days.tsv.zst            number and hash of the events of each customer, product and day
    secret.key.zst          the key that signs links and sessions
    settings.env.zst        the settings that the environment had
    spool/….spool.zst       events that waited for the database
    reports/….zst           report files, if they were asked for
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import BinaryIO, cast

import msgspec
import orjson
import zstandard

from app.exceptions import BackupDamaged, BackupFailed, FileMissing
from app.services.operations.event_digest import Day
from app.storage import write_all
from app.storage.archives import Hashing, Place
from app.store.operations.table_rows import escape, split_lines, unescape, whole_lines

FORMAT = 1  # of archives; a reader rejects a higher one
MANIFEST = "manifest.json"
DAYS, SECRET, SETTINGS = "days.tsv", "secret.key", "settings.env"
TABLES, SPOOL, REPORTS = "tables/", "spool/", "reports/"
PACKED = ".zst"
NAME = re.compile(r"tally-(\d{8}T\d{6}\.\d{3})Z")
LEVEL = 3  # of zstd
READ_BYTES = 1024 * 1024


class File(msgspec.Struct, frozen=True):
    """File of an archive: its size and hash as it is stored."""

    bytes: int
    sha256: str


class TableEntry(msgspec.Struct, frozen=True):
    """Table of an archive: its columns in order, and the number of its rows."""

    columns: list[str]
    rows: int


class Manifest(msgspec.Struct, frozen=True):
    """Contents of an archive."""

    format: int  # version of the archive's format
    tally: str  # version of Tally
    database: str  # name and version of the database
    created: int  # time of the snapshot in milliseconds
    migrations: list[str]  # names of the migrations that the database had
    events: int  # number of events
    hash: str  # hash of all events; see `event_digest`
    tables: dict[str, TableEntry]
    sequences: dict[str, int]  # the highest id that each table ever assigned
    has_reports: bool  # whether report files are included
    files: dict[str, File]

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.bytes for file in self.files.values())


class ArchiveWriter:
    """Archive being written.

    Attributes:
        name: its name in the place.
        files: what is stored so far.
    """

    def __init__(self, place: Place, moment: int) -> None:
        self.name = archive_name(moment)
        self._place = place
        self.files: dict[str, File] = {}

    def add(self, name: str, blocks: Iterable[bytes]) -> None:
        """Compress and store a file."""
        digest, size = hashlib.sha256(), 0
        packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

        def packed() -> Iterator[bytes]:
            nonlocal size
            for block in itertools.chain(blocks, [None]):
                data = packer.flush() if block is None else packer.compress(block)
                digest.update(data)
                size += len(data)
                yield data

        write_all(self._place.create(f"{self.name}/{name}{PACKED}"), packed())
        self.files[name + PACKED] = File(size, digest.hexdigest())

    def finish(self, manifest: Manifest) -> None:
        """Store the manifest, which makes the archive a backup."""
        write_all(self._place.create(f"{self.name}/{MANIFEST}"), [encode_manifest(manifest)])

    def discard(self) -> None:
        """Remove what was stored."""
        self._place.remove(self.name)


class Archive:
    """Complete archive.

    Attributes:
        name: its name; empty if the place itself is the archive.
    """

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self._place = place
        self._prefix = f"{name}/" if name else ""
        try:
            with closing(place.open(self._prefix + MANIFEST)) as stream:
                self.manifest = decode_manifest(stream.read())
        except FileMissing:
            raise BackupDamaged(f"{MANIFEST}: the file is missing, so this is not a complete backup.") from None

    def check(self, name: str) -> None:
        """Compare the size and the hash of a file with the manifest.

        Raises:
            BackupDamaged: the file is missing or is not as it was written.
        """
        with closing(self._open(name)) as stream:
            self._finish(name, stream)

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the decompressed content of a file, and check its size and hash at its end.

        Raises:
            BackupDamaged: the file is missing or is not as it was written.
        """
        with closing(self._open(name)) as stream:
            problem = ""
            try:
                with zstandard.ZstdDecompressor().stream_reader(cast(BinaryIO, stream), closefd=False) as reader:
                    while block := reader.read(READ_BYTES):
                        yield block
            except zstandard.ZstdError:
                problem = "its content is damaged"
            self._finish(name, stream, problem)

    def content(self, name: str) -> bytes:
        """Return the content of a small file."""
        return b"".join(self.blocks(name))

    @property
    def all_names(self) -> list[str]:
        """Return the names of all files."""
        return [name.removesuffix(PACKED) for name in self.manifest.files]

    def lines(self, table: str) -> Iterator[tuple[bytes, int]]:
        """Yield the rows of a table as text, in blocks."""
        name = f"{TABLES}{table}.tsv"
        try:
            yield from whole_lines(self.blocks(name))
        except ValueError as error:
            raise BackupDamaged(f"{name}{PACKED}: {error}.") from None

    def names(self, prefix: str) -> list[str]:
        """Return the names of the files of a kind, such as SPOOL."""
        return [name.removesuffix(PACKED) for name in self.manifest.files if name.startswith(prefix)]

    def days(self) -> list[Day]:
        """Return the number and hash of the events of each customer, product and day."""
        return decode_days(self.content(DAYS))

    def _open(self, name: str) -> Hashing:
        if name + PACKED not in self.manifest.files:
            raise BackupDamaged(f"{MANIFEST}: it does not list the file {name}.")
        try:
            return Hashing(self._place.open(f"{self._prefix}{name}{PACKED}"))
        except FileMissing:
            raise BackupDamaged(f"{name}{PACKED}: the file is missing.") from None

    def _finish(self, name: str, stream: Hashing, problem: str = "") -> None:
        expected, digest = self.manifest.files[name + PACKED], stream.finish()
        if stream.bytes != expected.bytes:
            problem = f"it has {stream.bytes:,} bytes instead of {expected.bytes:,}"
        elif digest != expected.sha256:
            problem = "its SHA-256 differs"
        if problem:
            raise BackupDamaged(f"{name}{PACKED}: {problem}.")


def archive_name(moment: int) -> str:
    """Return the name of an archive by the time of its snapshot."""
    stamp = datetime.fromtimestamp(moment / 1000, UTC)
    return f"tally-{stamp:%Y%m%dT%H%M%S}.{moment % 1000:03d}Z"


def created_at(name: str) -> int:
    """Return the time in an archive's name in milliseconds."""
    found = NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not the name of an archive")
    return round(datetime.strptime(f"{found[1]}+0000", "%Y%m%dT%H%M%S.%f%z").timestamp() * 1000)


def archive_names(place: Place) -> tuple[list[str], list[str]]:
    """Return the names of the complete and of the incomplete archives in a place, oldest first."""
    complete, seen = set(), set()
    for name in place.names("tally-"):
        folder, _, file = name.partition("/")
        if NAME.fullmatch(folder):
            seen.add(folder)
            if file == MANIFEST:
                complete.add(folder)
    return sorted(complete), sorted(seen - complete)


def find_archive(place: Place, label: str) -> Archive:
    """Return the archive that a place is, or the newest complete one in it.

    Args:
        label: the place's address, for messages.

    Raises:
        BackupFailed: there is none.
        BackupDamaged: its manifest is damaged.
    """
    names = place.names()
    if MANIFEST in names:
        return Archive(place, "")
    complete, _ = archive_names(place)
    if complete:
        return Archive(place, complete[-1])
    if any(name.startswith(TABLES) for name in names):
        raise BackupDamaged(f"{label} has no {MANIFEST}, so it is not a complete backup.")
    raise BackupFailed(f"There is no backup in {label}.")


def encode_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as JSON with its checksum."""
    content = msgspec.to_builtins(manifest)
    return orjson.dumps(content | {"checksum": _checksum(content)}, option=orjson.OPT_INDENT_2)


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest that JSON contains.

    Raises:
        BackupDamaged: it is not as it was written.
        BackupFailed: a newer version has written it.
    """
    try:
        content = orjson.loads(data)
        checksum = content.pop("checksum")
        number = content["format"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise BackupDamaged(f"{MANIFEST}: its content is damaged.") from None
    if isinstance(number, int) and number > FORMAT:
        raise BackupFailed(
            f"{MANIFEST}: its format is {number}, and this version of Tally reads formats up to {FORMAT}. "
            "Install the version that made the backup, or a newer one."
        )
    if checksum != _checksum(content):
        raise BackupDamaged(f"{MANIFEST}: its checksum differs.")
    return msgspec.convert(content, Manifest)


def encode_days(days: Sequence[Day]) -> bytes:
    """Return the number and hash of the events of each day as lines."""
    return "".join("\t".join(escape(str(value)) for value in day) + "\n" for day in days).encode()


def decode_days(data: bytes) -> list[Day]:
    """Return what `encode_days` wrote."""
    found = []
    for line in split_lines(data):
        customer, product, day, events, hash_ = map(unescape, line.split(b"\t"))
        found.append(Day(customer, product, day, int(events), hash_))
    return found


def _checksum(content: dict[str, object]) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
