"""Parts that all pages share: the blueprint, its protection against forged forms, and access to the services."""

from __future__ import annotations

from flask import Blueprint, current_app, request
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import BadRequest

from app.auth import comes_from_elsewhere
from app.services import Services
from app.support.same_origin import SAFE_METHODS

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
ELSEWHERE = "The form was sent from a page of another site, so nothing was changed. Submit it again from here."
WITHOUT_SESSION = {"admin.unsubscribe"}  # mail programs send it, and its address is signed
csrf = CSRFProtect()
MAX_FORM_BYTES = 10_000_000  # the largest form is an imported catalog document, as text


@blueprint.before_request
def refuse_unkeepable() -> None:
    """Reject a URL that contains NUL, because no database can look it up."""
    if any("\0" in value for values in request.args.listvalues() for value in values):
        raise BadRequest


@blueprint.before_request
def refuse_forged() -> None:
    """Reject an unsafe request unless it comes from a page of this site and has the token of its session."""
    if request.endpoint in WITHOUT_SESSION:
        return
    if request.method not in SAFE_METHODS and comes_from_elsewhere():
        raise CSRFError(ELSEWHERE)
    request.max_content_length = MAX_FORM_BYTES  # the token is in the form, which is read to find it
    try:
        csrf.protect()
    finally:
        request.max_content_length = None  # the rest of a rejected request's body is read before the response


def services() -> Services:
    found: Services = current_app.extensions["services"]
    return found
