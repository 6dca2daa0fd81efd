"""The schema of a database as values to compare: columns, indexes, constraints and triggers.

The order of columns is left out, because a migration appends them, and so are the partitions of a table, because they
depend on its rows.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg

Rows = list[tuple[object, ...]]

SQLITE = {
    "tables": """SELECT t.name, t.wr, t.strict, m.sql LIKE '%AUTOINCREMENT%' FROM pragma_table_list t
        JOIN sqlite_master m ON m.name = t.name WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%'""",
    "columns": """SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
        FROM sqlite_master m, pragma_table_xinfo(m.name) c WHERE m.type = 'table'""",
    # An index that a constraint made has a number for a name.
    "indexes": """SELECT m.name, CASE i.origin WHEN 'c' THEN i.name END, i."unique", i.origin,
        (SELECT group_concat(x.name || ' ' || x.desc || ' ' || x.coll, ', ')
            FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE key ORDER BY seqno) x),
        (SELECT substr(sql, instr(sql, ' WHERE ')) FROM sqlite_master WHERE name = i.name AND i.partial)
        FROM sqlite_master m, pragma_index_list(m.name) i WHERE m.type = 'table'""",
    "foreign keys": """SELECT m.name, f."from", f."table", f."to", f.on_delete
        FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'""",
    "others": "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')",
}
SQLITE_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
CHECK = re.compile(r"\bCHECK\b[^\n]*", re.IGNORECASE)

_OURS = "c.relnamespace = 'public'::regnamespace AND NOT c.relispartition"
POSTGRESQL = {
    "tables": f"""SELECT c.relname, c.relkind, c.reloptions, pg_get_partkeydef(c.oid) FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND {_OURS}""",
    "columns": f"""SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        a.attgenerated, a.attcollation::regcollation::text, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND {_OURS}""",
    "indexes": f"""SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE {_OURS}""",
    # The columns have "not null" as well; a constraint of that kind has another name after a renaming.
    "constraints": f"""SELECT c.relname, o.conname, pg_get_constraintdef(o.oid), o.convalidated
        FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid WHERE o.contype <> 'n' AND {_OURS}""",
    "triggers": f"""SELECT c.relname, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND {_OURS}""",
    "functions": """SELECT proname, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'""",
}


def read_schema(url: str) -> dict[str, Rows]:
    """Return the schema of a database by kind, in an order of its own."""
    if not url.startswith("sqlite"):
        with psycopg.connect(url) as connection:
            found = {kind: connection.execute(query).fetchall() for kind, query in POSTGRESQL.items()}
        return {kind: _sort(rows) for kind, rows in found.items()}
    with closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")))) as connection:
        found = {kind: connection.execute(query).fetchall() for kind, query in SQLITE.items()}
        checks = [(name, *CHECK.findall(sql)) for name, sql in connection.execute(SQLITE_TABLES)]
    return {kind: _sort(rows) for kind, rows in (found | {"checks": checks}).items()}


def _sort(rows: Sequence[tuple[object, ...]]) -> Rows:
    return sorted(rows, key=repr)
