"""Pages of webhooks and mail. Each module adds its pages to the blueprint."""

from app.admin.notifications import mail, webhook_form, webhooks

__all__ = ["mail", "webhook_form", "webhooks"]
