"""Where report files live, and the signed links that lead to them: the only room that touches files of reports."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.storage.local import LocalStorage


def open_storage(url: str) -> LocalStorage:
    """The storage of `file:///folder`; nothing is written yet."""
    return LocalStorage(Path(unquote(urlsplit(url).path)))
