"""Pages of webhooks. Each module adds its pages to the blueprint."""

from app.admin.notifications import webhook_form, webhooks

__all__ = ["webhook_form", "webhooks"]
