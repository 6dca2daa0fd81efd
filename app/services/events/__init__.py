"""Ingestion, listing, import, rejection and resending of events."""
