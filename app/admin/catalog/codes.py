"""Codes that a field suggests while the user types; see `static/codes.js`."""

from __future__ import annotations

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from app.admin.blueprint import services
from app.admin.pages import page
from app.auth import caller
from app.services.catalog.lookup import CODE_KINDS

OFFERED = 20


@page("/codes")
def codes() -> ResponseReturnValue:
    """Return the first codes that contain a text, with those that begin with it first, and whether there are more."""
    kind, text = request.args.get("of", ""), request.args.get("text", "").strip()
    if kind not in CODE_KINDS:
        return jsonify({"error": f"of must be one of {', '.join(CODE_KINDS)}."}), 400
    found = services().catalog.find_codes(caller(), kind, text, OFFERED + 1)
    return jsonify({"codes": found[:OFFERED], "more": len(found) > OFFERED})
