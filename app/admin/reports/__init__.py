"""Pages of reports. Each module adds its pages to the blueprint."""

from app.admin.reports import new_report, report_actions, reports

__all__ = ["new_report", "report_actions", "reports"]
