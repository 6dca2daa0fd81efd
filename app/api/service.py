"""`/service`, `/system`: information about this service and the caller."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from app.api.openapi.operations import Operation, described
from app.api.responses import JsonResponse
from app.auth import caller
from app.version import VERSION

blueprint = Blueprint("service", __name__)
NAME = "Tally"
DESCRIPTION = "Records usage events and hands the raw events back."


@blueprint.get("/system/version")
@blueprint.get("/service/version")
@Operation("service", {"200": described("The version.", "Version")})
def version() -> Response:
    """Which version answers; SDKs ask under either name."""
    return JsonResponse({"version": VERSION, "service": _service()})


@blueprint.get("/service/authenticate")
@Operation("service", {"200": described("The caller.", "Authentication")}, errors=("503",), permission="")
def authenticate() -> Response:
    """Whether the credentials are right, and what they allow."""
    who = caller()
    user = {
        "id": who.name,
        "context": "*" if who.customers is None else ",".join(who.customers),
        "permissions": ",".join(who.permissions) or None,
        "role": who.role,
        "customers": who.customers,
    }
    return JsonResponse({"service": _service(), "user": user})


def _service() -> dict[str, str]:
    environment = current_app.config["SETTINGS"].environment
    return {"name": NAME, "description": DESCRIPTION, "version": VERSION, "environment": environment}
