"""Deliveries of notifications in the database."""
