"""Data access layer: the only package that uses SQL and Peewee.

`database` opens and migrates SQLite or PostgreSQL, `models` defines the tables, and `backends` covers the differences
between the two databases. A module per noun holds its queries.
"""
