"""What all pages share: the blueprint, its protection against forged forms, and the way to the services."""

from __future__ import annotations

from flask import Blueprint, current_app
from flask_wtf import CSRFProtect

from app.services import Services

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
csrf = CSRFProtect()


@blueprint.before_request
def refuse_forged() -> None:
    """Let an unsafe request pass only with the token of its session."""
    csrf.protect()


def services() -> Services:
    """The services of this process."""
    return current_app.extensions["services"]
