"""Differences between SQLite and PostgreSQL: opening, bulk writes, report snapshots, bulk reads."""
