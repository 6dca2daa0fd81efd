"""A database of each released version, which every later version must upgrade.

    1.0.0/  sqlite.db.zst, postgresql.sql.zst   the databases
            sqlite.json, postgresql.json        what the API and the commands answered from them

`python -m tests.upgrades.make` writes the folder of the version in `app/version.py`. A folder is never written again
after its version has been released.
"""
