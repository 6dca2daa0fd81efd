"""Pages of alerts, their rules, silences and channels. Each module adds its pages to the blueprint."""

from app.admin.alerts import alerts, channels, rules, silences

__all__ = ["alerts", "channels", "rules", "silences"]
