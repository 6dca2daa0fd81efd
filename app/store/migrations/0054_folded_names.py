"""Users are known by names in NFC, without surrounding blanks and invisible characters.

Of users whose names differ in nothing else, one keeps the name: who has it in that form already, else the first. The
others get a number behind theirs, so that nobody is taken for another, and an administrator sees whom to inform.
"""

from app.lookalikes import folded


def up(migrator, db):
    """Rename the users whose names are others now."""
    users = list(db.execute_sql("SELECT id, name FROM account ORDER BY id").fetchall())
    taken = {name for _, name in users if folded(name) == name}
    mark = db.param
    for key, name in users:
        plain = folded(name) or f"user {key}"
        if plain == name:
            continue
        number, free = 2, plain
        while free in taken:
            number, free = number + 1, f"{plain} ({number})"
        taken.add(free)
        db.execute_sql(f"UPDATE account SET name = {mark} WHERE id = {mark}", (free, key))  # noqa: S608 - no value in it
