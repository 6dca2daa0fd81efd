"""Which paths belong to programs: all but people's."""

from __future__ import annotations

PEOPLE = ("/admin", "/static", "/docs", "/bootstrap")


def is_api(path: str) -> bool:
    """Whether answers on this path are for programs: JSON errors, CORS."""
    return path != "/" and not any(path == people or path.startswith(f"{people}/") for people in PEOPLE)
