"""The pictures in the docs: of every page, in every form, and none that a text names is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import create_app
from app.config import Settings
from bench.screenshots import FOLDER, THEMES, WIDTHS, name_of, pages_of

ROOT = Path(__file__).parent.parent
PICTURE = re.compile(r'(?:src|srcset)="([^"]+\.png)"|!\[[^]]*\]\(([^)]+\.png)\)')


def test_every_page_has_its_pictures(tmp_path):
    rules = create_app(Settings(data_dir=tmp_path, secret_key="a secret for the tests")).url_map
    names = [
        f"{name_of(rule.rule)}-{theme}-{width}.png" for rule in pages_of(rules) for theme in THEMES for width in WIDTHS
    ]
    assert [name for name in names if not (FOLDER / name).exists()] == [], "make screenshots"


@pytest.mark.parametrize("text", ["README.md", "docs/operations.md"])
def test_every_picture_that_a_text_shows_is_there(text):
    shown = [one or other for one, other in PICTURE.findall((ROOT / text).read_text())]
    assert shown
    assert [one for one in shown if not (ROOT / text).parent.joinpath(one).exists()] == []
