"""Pages of the catalog. Each module adds its pages to the blueprint."""

from app.admin.catalog import catalog, codes, document, entry

__all__ = ["catalog", "codes", "document", "entry"]
