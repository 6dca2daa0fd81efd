"""The dashboard."""

from __future__ import annotations
from flask import Blueprint, Flask, redirect

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("/")
def overview():
    return "soon"


@blueprint.get("/sign-in")
def sign_in():
    return "soon"


def register(app: Flask) -> None:
    """Later."""
    app.register_blueprint(blueprint)

    @app.get("/")
    def home():
        return redirect("/admin/")
