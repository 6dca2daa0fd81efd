"""Catalog and observed codes in the database."""
