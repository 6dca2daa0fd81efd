"""System pages: running processes, retention, settings and versions."""

from __future__ import annotations

from flask import render_template

from app.admin.blueprint import blueprint, services
from app.auth import caller, need, signed_in
from app.services.operations.system import MOST


@blueprint.get("/system")
@signed_in
def system() -> str:
    """Show running processes and what expires next."""
    return render_template("admin/operations/system.html", **_found())


@blueprint.get("/system/part")
@signed_in
def system_part() -> str:
    """Return the part of the page that refreshes itself."""
    return render_template("admin/operations/_system.html", **_found())


@blueprint.get("/system/settings")
@signed_in
def settings() -> str:
    """Show the settings in effect."""
    need("system")
    return render_template("admin/operations/settings.html", settings=services().system.settings())


@blueprint.get("/system/versions")
@signed_in
def versions() -> str:
    """Show the versions that run, and the migrations that the database has."""
    need("system")
    known = {"versions": services().system.versions(), "migrations": services().system.migrations()}
    return render_template("admin/operations/versions.html", **known)


def _found() -> dict[str, object]:
    need("system")
    who, here = caller(), services().system
    work = here.work(who)
    return {
        "checks": services().health.glance(),
        "work": work,
        "retention": here.retention(who),
        "room": here.room(who),
        "uncounted": here.uncounted(),
        "most": MOST,
        "moving": any(worker.is_busy for worker in work.workers),
    }
