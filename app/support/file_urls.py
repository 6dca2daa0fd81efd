"""Conversion between file paths and paths in URLs. Every byte with a meaning in URLs, except `/`, is escaped.

The escapes encode the bytes of the file name, not its characters, because in an ASCII locale Python decodes other bytes
of a path as surrogates.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes


def quoted(path: Path) -> str:
    """Return the path in the form that URLs use."""
    return quote(os.fsencode(path))


def unquoted(text: str) -> Path:
    """Return the file path that a URL contains."""
    return Path(os.fsdecode(unquote_to_bytes(os.fsencode(text))))
