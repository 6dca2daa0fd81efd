"""`/health`: whether this process is alive, and whether the service is fully operational."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from app.api.responses import answer

blueprint = Blueprint("health", __name__, url_prefix="/health")


@blueprint.get("/live")
def live() -> Response:
    """200 as long as the process answers at all."""
    return answer({"status": "live"})


@blueprint.get("/ready")
def ready() -> Response:
    """200 as long as events are accepted; else 503, with why not. What else is wrong stands under its name, too.

    Anybody may ask, so no address is told; the page System and the log have it.
    """
    checks = current_app.extensions["services"].health.glance()
    reasons = [check.plain for check in checks if check.stops_events]
    body = {
        "status": "unready" if reasons else "ready",
        "checks": {check.name: check.plain or "ok" for check in checks},
        "reasons": reasons,
    }
    return answer(body, 503 if reasons else 200)
