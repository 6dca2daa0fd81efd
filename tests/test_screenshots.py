"""The screenshots in the docs: every referenced file exists, and every file is referenced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURE = re.compile(r'(?:src|srcset)="([^"]+\.png)"|!\[[^]]*\]\(([^)]+\.png)\)')


TEXTS = ["README.md", "docs/operations.md"]


def referenced(text: str) -> set[Path]:
    """Return the pictures that a document refers to."""
    matches = PICTURE.findall((ROOT / text).read_text())
    return {(ROOT / text).parent / (tag or markdown) for tag, markdown in matches}


@pytest.mark.parametrize("text", TEXTS)
def test_every_referenced_picture_exists(text):
    assert referenced(text)
    assert [picture for picture in referenced(text) if not picture.exists()] == []


def test_every_picture_is_referenced():
    assert set((ROOT / "docs" / "screenshots").iterdir()) == set().union(*map(referenced, TEXTS))
