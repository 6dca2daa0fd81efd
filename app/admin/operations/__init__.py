"""Pages about the installation: overview and system. Each module adds its pages to the blueprint."""

from app.admin.operations import overview, system

__all__ = ["overview", "system"]
