"""`/openapi.json`."""

from __future__ import annotations
from flask import Blueprint, Flask

blueprint = Blueprint("openapi", __name__)


def register_docs(app: Flask) -> None:
    """Later."""
