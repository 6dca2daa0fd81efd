"""Pages of the catalog. Each module adds its pages to the blueprint."""

from app.admin.catalog import catalog, document, entry

__all__ = ["catalog", "document", "entry"]
