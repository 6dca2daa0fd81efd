"""`/health`: whether this process is alive, and whether the service is fully operational."""

from __future__ import annotations

from flask import Blueprint, Response

from app.api.openapi.operations import Operation, described
from app.api.responses import JsonResponse
from app.auth import services

blueprint = Blueprint("health", __name__, url_prefix="/health")


@blueprint.get("/live")
@Operation("health", {"200": described("It lives.", "Live")})
def live() -> Response:
    """200 as long as the process answers at all."""
    return JsonResponse({"status": "live"})


@blueprint.get("/ready")
@Operation(
    "health",
    {
        "200": described("Events are accepted. `checks` names further problems.", "Ready"),
        "503": described("Events are refused, for these reasons.", "Ready"),
    },
)
def ready() -> Response:
    """Return 200 as long as events are accepted, otherwise 503 with the reasons. `checks` has every problem by name.

    The response has no addresses, because it needs no credentials. The page System and the log have them.
    """
    checks = services().health.glance()
    reasons = [check.plain for check in checks if check.stops_events]
    body = {
        "status": "unready" if reasons else "ready",
        "checks": {check.name: check.plain or "ok" for check in checks},
        "reasons": reasons,
    }
    return JsonResponse(body, 503 if reasons else 200)
