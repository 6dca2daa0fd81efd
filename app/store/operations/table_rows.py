"""Rows of a table as text: the same text from SQLite and PostgreSQL, for backups, moves and comparisons.

The text is PostgreSQL's COPY format: a line per row, a tab between columns, `\\N` for null, and escapes by backslash.
Columns whose types differ between the databases have one form: booleans are 0 and 1, bytes are hexadecimal after `\\x`,
and a list of strings is JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from app.exceptions import StoreUnavailable
from app.store.backends.availability import translated

NULL = b"\\N"
ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
ESCAPES = {ord(char): f"\\{letter}" for letter, char in ESCAPED.items()} | {ord("\\"): "\\\\"}
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
IN_ARRAY = str.maketrans({"\\": "\\\\", '"': '\\"'})

TEXT, NUMBER, FLAG, BYTES, LIST = "text", "number", "flag", "bytes", "list"
HISTORY = "schema_migration"  # the table in which the migrations record themselves
MOVE = "move"  # the table of a SQLite database that is being moved; see `move_state`

Lines = tuple[bytes, int]  # lines with their line ends, and their number


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Attributes:
        kind: TEXT, NUMBER or BYTES; and FLAG for a boolean and LIST for a list of strings, which SQLite has as NUMBER
            and TEXT.
    """

    name: str
    kind: str
    is_nullable: bool = True


@dataclass(frozen=True)
class Table:
    """Table with its columns in order."""

    name: str
    columns: tuple[Column, ...]

    @property
    def has_id(self) -> bool:
        """Return whether the first column is a number that orders the rows."""
        return self.columns[0] == Column("id", NUMBER, is_nullable=False)

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        return [column.name for column in self.columns]


def quoted(name: str) -> str:
    """Return a name of a table or column as SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_names(names: Sequence[str]) -> str:
    """Return a list of columns as SQL."""
    return ", ".join(quoted(name) for name in names)


def between(after: int | None, until: int | None) -> str:
    """Return SQL that selects the rows with an id above `after` and up to `until`, where they are not None."""
    conditions = [] if after is None else [f"id > {after:d}"]
    conditions += [] if until is None else [f"id <= {until:d}"]
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def escape(value: str) -> str:
    """Return a value with the escapes of the format."""
    return value.translate(ESCAPES)


def unescape(field: bytes) -> str:
    """Return the value of a field that is not null."""
    text = field.decode()
    return ESCAPE.sub(lambda found: ESCAPED.get(found[1], found[1]), text) if "\\" in text else text


def split_lines(data: bytes) -> list[bytes]:
    """Return the lines of a block without their line ends."""
    lines = data.split(b"\n")
    lines.pop()  # after the last line end
    return lines


def whole_lines(blocks: Iterator[bytes]) -> Iterator[Lines]:
    """Yield the same data in blocks that end with a line end.

    Raises:
        ValueError: the data ends within a line.
    """
    rest = b""
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if not end:
            rest += block
            continue
        data = rest + block[:end]
        rest = block[end:]
        yield data, data.count(b"\n")
    if rest:
        raise ValueError("the last line is cut short")


def with_arrays(data: bytes, place: int) -> bytes:
    """Return lines with the list of one column in PostgreSQL's syntax.

    Args:
        place: number of the column, from 0.
    """
    converted = []
    for line in split_lines(data):
        fields = line.split(b"\t", place + 1)
        field = fields[place]
        if b"\\" not in field:  # the two syntaxes differ only in the brackets, unless an item contains an escape
            fields[place] = b"{" + field[1:-1] + b"}"
        else:
            items: list[str | None] = orjson.loads(unescape(field))
            inner = ",".join("NULL" if item is None else f'"{item.translate(IN_ARRAY)}"' for item in items)
            fields[place] = escape(f"{{{inner}}}").encode()
        converted.append(b"\t".join(fields))
    converted.append(b"")
    return b"\n".join(converted)


def values(data: bytes, columns: Sequence[Column]) -> Iterator[list[str | bytes | None]]:
    """Yield the values of each line, for a statement with a parameter per column. Numbers are text.

    Raises:
        ValueError: a line has another number of columns.
    """
    blobs = [place for place, column in enumerate(columns) if column.kind == BYTES]
    for line in split_lines(data):
        fields = line.split(b"\t")
        if len(fields) != len(columns):
            raise ValueError(f"a line has {len(fields)} columns instead of {len(columns)}")
        found: list[str | bytes | None]
        if b"\\" in line:
            found = [None if field == NULL else unescape(field) for field in fields]
            for place in blobs:
                text = found[place]
                found[place] = bytes.fromhex(text[2:]) if isinstance(text, str) else None
        else:
            found = [field.decode() for field in fields]
        yield found


@contextmanager
def driver_errors(kind: type[Exception], name: str) -> Iterator[None]:
    """Raise StoreUnavailable for every error of a driver. `name` is that of the database."""
    try:
        with translated():
            yield
    except kind as error:
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreUnavailable(f"{name}: {message[0].rstrip('.')}.") from error
