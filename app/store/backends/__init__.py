"""The few things in which SQLite and PostgreSQL differ: opening, bulk writes, the cut of a report, bulk reads."""
