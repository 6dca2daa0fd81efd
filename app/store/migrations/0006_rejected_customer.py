"""Whose a rejected event seems to be, so that people limited to some customers see theirs."""


def up(migrator, db):
    """Add the column; what was kept before is nobody's. The index also answers the count by field."""
    db.execute_sql("ALTER TABLE rejected_event ADD COLUMN customer TEXT NOT NULL DEFAULT ''")
    db.execute_sql("CREATE INDEX rejected_event_customer_field ON rejected_event (customer, field)")
