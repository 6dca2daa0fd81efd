"""`/health`: whether this process lives, and whether the service can do all of its work."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from app.api.answers import answer

blueprint = Blueprint("health", __name__, url_prefix="/health")


@blueprint.get("/live")
def live() -> Response:
    """200 as long as the process answers at all."""
    return answer({"status": "live"})


@blueprint.get("/ready")
def ready() -> Response:
    """200 where events and reports can be served; else 503, with what is wrong and what to do."""
    checks = current_app.extensions["services"].health.checks()
    wrong = [check.problem for check in checks if check.problem]
    body = {
        "status": "unready" if wrong else "ready",
        "checks": {check.name: check.problem or "ok" for check in checks},
        "reasons": wrong,
    }
    return answer(body, 503 if wrong else 200)
