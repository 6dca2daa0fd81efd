"""Classification of paths: those for people, and those for programs."""

from __future__ import annotations

PEOPLE = ("/admin", "/static", "/docs", "/bootstrap")


def is_api(path: str) -> bool:
    """Return whether responses on this path are for programs, which means JSON errors and CORS."""
    return path != "/" and not any(path == people or path.startswith(f"{people}/") for people in PEOPLE)
