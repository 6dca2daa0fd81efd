"""Paths of files as they stand in URLs: any byte but `/` is escaped where a URL gives it a meaning.

Escapes are bytes of the file system's names, so they are kept apart from text: under a locale of ASCII Python reads
other characters of a path as surrogates.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes


def quoted(path: Path) -> str:
    """A path as it stands in a URL."""
    return quote(os.fsencode(path))


def unquoted(text: str) -> Path:
    """The path that stands in a URL."""
    return Path(os.fsdecode(unquote_to_bytes(os.fsencode(text))))
