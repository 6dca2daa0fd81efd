"""Folders that the package ships beside its code: templates, static files and configurations."""

from __future__ import annotations

import sysconfig
from pathlib import Path

_BESIDE = Path(__file__).parents[2]  # the checkout, or the folder with the installed packages


def shipped(name: str) -> Path:
    """Return a folder that is at the top of a checkout, and under share/tally in an installation."""
    if (_BESIDE / "setup.cfg").is_file():
        return _BESIDE / name
    # The environment's own prefix, `pip install --user`, and `pip install --target`.
    prefixes = (sysconfig.get_path("data"), sysconfig.get_path("data", sysconfig.get_preferred_scheme("user")), _BESIDE)
    folders = [Path(prefix) / "share" / "tally" / name for prefix in prefixes]
    return next((folder for folder in folders if folder.is_dir()), folders[0])
