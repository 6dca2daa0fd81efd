"""Store user names in NFC, without surrounding blanks and invisible characters.

If several users have the same name in this form, the user who already has exactly this name keeps it, otherwise the
first. The names of the others get a number, so that users stay distinct and an administrator sees whom to inform.
"""

from app.support.lookalikes import folded


def up(migrator, db):
    """Rename the users whose names change."""
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
