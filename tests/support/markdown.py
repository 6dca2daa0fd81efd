"""What the tests read of a page of the documentation: its headings, links and blocks of code."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

INLINE_HTML = re.compile(r"""(?:href|src|srcset)=["']([^"']+)["']""")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: the word behind the fence, empty for an indented block.
        line: where it begins, counted from 1.
    """

    language: str
    text: str
    line: int


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page, those in lists and quotes too."""
    found = [token for token in tokens(page) if token.type in ("fence", "code_block")]
    return [Block(token.info.strip(), token.content, (token.map or [0])[0] + 1) for token in found]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    every = tokens(page)
    for index, token in enumerate(every):
        if token.type == "heading_open":
            text = "".join(part.content for part in every[index + 1].children or [])
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def links(page: Path) -> set[str]:
    """Return where the links and images of a page lead to, those in HTML too."""
    found: set[str] = set()
    for token in tokens(page):
        for part in [token, *(token.children or [])]:
            target = part.attrGet("href") or part.attrGet("src")
            if target:
                found.add(str(target))
            if part.type in ("html_block", "html_inline"):
                found.update(INLINE_HTML.findall(part.content))
    return found
