"""System pages: running processes, retention, settings and versions."""

from __future__ import annotations

from flask import render_template

from app.admin.blueprint import services
from app.admin.operations.overview import CHECK_LABELS
from app.admin.pages import Values, live_page, page
from app.auth import caller
from app.services.operations.system import MOST
from app.version import VERSION

# Sentences for checks that passed. The check's note replaces the braces.
WELL = {
    "database": "It responds and accepts events.",
    "redis": "It responds, so new reports start at once.",
    "worker": "Ready to write reports: {}.",
    "scheduler": "It updates charts and removes expired data.",
    "storage": "Their storage is available.",
    "disk": "{}.",
    "spool": "It is {}, so no event is waiting for the database.",
    "backup": "Made automatically.",
    "channels": "All {} delivered their last message.",
}


@live_page("/system", "system", "admin/operations/system.html")
def system() -> Values:
    """Show running processes and what expires next."""
    who, source = caller(), services().system
    work = source.work(who)
    return {
        "checks": services().health.glance(),
        "check_labels": CHECK_LABELS,
        "well": WELL,
        "version": VERSION,
        "work": work,
        "retention": source.retention(who),
        "room": source.room(who),
        "backup": services().backups.status(),
        "mail_server": services().mail.server.name if services().mail.server.is_set else None,
        "uncounted": services().volume.uncounted(),
        "most": MOST,
        "moving": any(worker.is_busy for worker in work.workers),
    }


@page("/system/settings", "system")
def settings() -> str:
    return render_template("admin/operations/settings.html", settings=services().system.settings())


@page("/system/versions", "system")
def versions() -> str:
    """Show the versions that run, and the migrations that the database has."""
    values = {"versions": services().system.versions(), "migrations": services().system.migrations()}
    return render_template("admin/operations/versions.html", **values)
