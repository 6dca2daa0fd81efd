"""The pictures in the docs: none that a text names is missing, and there are no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURE = re.compile(r'(?:src|srcset)="([^"]+\.png)"|!\[[^]]*\]\(([^)]+\.png)\)')


TEXTS = ["README.md", "docs/operations.md"]


def shown(text: str) -> set[Path]:
    """The pictures that a text shows."""
    found = PICTURE.findall((ROOT / text).read_text())
    return {(ROOT / text).parent / (one or other) for one, other in found}


@pytest.mark.parametrize("text", TEXTS)
def test_every_picture_that_a_text_shows_is_there(text):
    assert shown(text)
    assert [picture for picture in shown(text) if not picture.exists()] == []


def test_no_picture_is_kept_that_no_text_shows():
    assert set((ROOT / "docs" / "screenshots").iterdir()) == set().union(*map(shown, TEXTS))
