"""Pages of ingest keys. Each module adds its pages to the blueprint."""

from app.admin.access import ingest_keys

__all__ = ["ingest_keys"]
