"""What makes rejected events alike: the field, what is the matter with it, product and type.

The index answers how many there are of each kind, and when they came, without a look at the events themselves. Of what
was kept before, product and type are not told; it is kept for a month at most.
"""


def up(migrator, db):
    """Add the columns and the index."""
    for column in ("product", "type", "fault"):
        db.execute_sql(f"ALTER TABLE rejected_event ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute_sql(
        "CREATE INDEX rejected_event_groups ON rejected_event (field, fault, product, type, received, customer)"
    )
