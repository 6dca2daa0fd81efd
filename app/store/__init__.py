"""What the service remembers: the only room with SQL and Peewee.

`database` opens SQLite or PostgreSQL and migrates it, `models` names the tables, `backends` holds the few things in
which the two databases differ, and a module per noun holds its queries.
"""
