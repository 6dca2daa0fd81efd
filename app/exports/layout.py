"""Which columns a report file has, and which context item fills each: a plain value, the same for every database.

It is worked out once, when a report is accepted, and kept on the report's row, so that a later change of the catalog
changes no report. `store` turns it into SQL where the database can cut the columns itself, `exports` applies it to a
row in Python; neither decides anything about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

POSITIONAL = "positional"
COLUMNS = "columns"
EXTRA = "*"  # marks the column for items without their own; layouts stored by older versions may have it before others
EXTRA_NAME = "extra"  # the name of that column in files
COMMON = ("timestamp", "type")  # the first two columns of every report file
# How a cell begins that a spreadsheet would run, by OWASP's list, the full-width forms of the four signs included
# (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"


@dataclass(frozen=True)
class Layout:
    """Layout of the columns after `timestamp` and `type`.

    Attributes:
        kind: POSITIONAL (the context items in their original order) or COLUMNS (by the catalog's names).
        columns: the product's column names in the catalog's order, then EXTRA unless the catalog drops items without a
            column; empty for POSITIONAL.
        contexts: for each event type, the names of its context items in order; empty for POSITIONAL.
    """

    kind: str
    columns: tuple[str, ...] = ()
    contexts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def header(self, width: int) -> list[str]:
        """Return the unique column names of a file whose widest context has `width` items."""
        if self.kind == POSITIONAL:
            return [*COMMON, *(f"context{number + 1}" for number in range(width))]
        return [*COMMON, *self.names(COMMON)]

    def names(self, taken: Sequence[str], fold: Callable[[str], str] = str) -> list[str]:
        """Return a unique name for each column of a file, with a number appended to duplicates from the catalog.

        Args:
            taken: names of other columns of the file.
            fold: returns the same value for names that a reader of the file treats as equal.
        """
        fixed = [*taken, *([EXTRA_NAME] if EXTRA in self.columns else [])]
        used, names = {fold(name) for name in fixed}, []
        catalogued = {fold(column) for column in self.columns}
        for column in self.columns:
            name, number = EXTRA_NAME if column == EXTRA else column, 1
            while column != EXTRA and (fold(name) in used or (number > 1 and fold(name) in catalogued)):
                number += 1
                name = f"{column}_{number}"
            used.add(fold(name))
            names.append(name)
        return names

    def place(self, event_type: str, column: str) -> int | None:
        """The index of the context item that fills `column` for events of a type, None where nothing does."""
        names = self.contexts.get(event_type, ())
        return names.index(column) if column in names and column != EXTRA else None

    def extras(self, event_type: str) -> tuple[tuple[int, ...], int]:
        """Where a type's items without a column stand: the indexes among the named ones, and the first unnamed one."""
        names = self.contexts.get(event_type, ())
        kept = tuple(
            i for i, name in enumerate(names) if name == EXTRA or name not in self.columns or names.index(name) != i
        )
        return kept, len(names)

    @property
    def keeps_extras(self) -> bool:
        """Whether no context item is left out of the file."""
        return self.kind == POSITIONAL or EXTRA in self.columns

    def to_json(self) -> dict[str, object]:
        """As a JSON object, to be kept on the report's row."""
        return {"kind": self.kind, "columns": self.columns, "contexts": dict(self.contexts)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Layout:
        """The layout that `to_json` wrote."""
        contexts: Mapping[str, Sequence[str]] = value["contexts"]
        return cls(value["kind"], tuple(value["columns"]), {code: tuple(names) for code, names in contexts.items()})
