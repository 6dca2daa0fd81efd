"""Sphinx builds the pages of this folder as a site: `make docs`. They are Markdown, readable without it as well."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from app.version import VERSION  # noqa: E402 - found by the line above

project = "Tally"
author = "The makers of Tally"
release = version = VERSION
extensions = ["myst_parser"]
exclude_patterns = ["screenshots"]
myst_heading_anchors = 4  # the anchors that GitHub gives headings
highlight_language = "none"
html_theme = "furo"
html_title = f"Tally {VERSION}"
html_favicon = "../static/icon.svg"
html_copy_source = False
html_show_sphinx = False


def _copy_screenshots(app: Sphinx, error: Exception | None) -> None:
    """Copy what <picture> shows, because Sphinx does not look into HTML."""
    if error is None and app.builder.format == "html":
        shutil.copytree(FOLDER / "screenshots", Path(app.outdir) / "screenshots", dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    """Register what is done after the build."""
    app.connect("build-finished", _copy_screenshots)
