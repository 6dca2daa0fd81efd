"""The catalog and the observed codes in the database."""
