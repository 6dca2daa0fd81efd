"""What all pages share: the blueprint, its protection against forged forms, and the way to the services."""

from __future__ import annotations

from flask import Blueprint, current_app, request
from flask_wtf import CSRFProtect

from app.services import Services

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
csrf = CSRFProtect()
MAX_FORM_BYTES = 10_000_000  # the largest is a document that is imported, as text


@blueprint.before_request
def refuse_forged() -> None:
    """Let an unsafe request pass only with the token of its session."""
    request.max_content_length = MAX_FORM_BYTES  # the token is looked for in the form, which is read for it
    try:
        csrf.protect()
    finally:
        request.max_content_length = None  # whoever is refused is heard out before the answer


def services() -> Services:
    """The services of this process."""
    return current_app.extensions["services"]
