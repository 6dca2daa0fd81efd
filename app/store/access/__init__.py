"""Ingest keys in the database."""
