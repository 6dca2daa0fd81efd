"""Recurring reports in the database."""
