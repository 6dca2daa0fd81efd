"""Parser of pages, so that tests ask for words, links, fields and rows instead of markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from werkzeug.test import TestResponse

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}
INLINE = {"a", "b", "bdi", "code", "em", "i", "small", "strong", "time"}  # no space around them


class Element:
    """Element of a page: `one["href"]` is an attribute, or None."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Element | str] = []

    def __getitem__(self, name: str) -> str | None:
        return self.attributes.get(name)

    def __contains__(self, words: str) -> bool:
        return words in self.text

    @property
    def content(self) -> str:
        """Return the exact text, as in a `pre` or a `textarea`."""
        return "".join(one if isinstance(one, str) else one.content for one in self.children)

    @property
    def text(self) -> str:
        """Return the visible text, with single spaces, also between blocks."""
        return " ".join("".join(self._words()).split())

    def _words(self) -> Iterator[str]:
        for one in self.children:
            if isinstance(one, str):
                yield one
            elif one.tag not in ("script", "style", "title"):
                space = "" if one.tag in INLINE else " "
                yield f"{space}{''.join(one._words())}{space}"

    def __iter__(self) -> Iterator[Element]:
        for one in self.children:
            if isinstance(one, Element):
                yield one
                yield from one

    def all(self, tag: str = "", **attributes: str | bool) -> list[Element]:
        """Return the elements with a tag and attributes.

        A value of True accepts any value, and `class_` is one of several classes.
        """
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [one for one in self if (not tag or one.tag == tag) and all(one._has(*pair) for pair in wanted.items())]

    def first(self, tag: str = "", **attributes: str | bool) -> Element:
        """Return the first of these elements, which must exist."""
        found = self.all(tag, **attributes)
        assert found, f"no {tag} {attributes} among {self.text[:300]}"
        return found[0]

    def _has(self, name: str, value: str | bool) -> bool:
        if isinstance(value, bool):
            return (name in self.attributes) is value
        given = self.attributes.get(name)
        return given is not None and (value in given.split() if name == "class" else given == value)

    @property
    def links(self) -> list[str]:
        """Return the addresses of the links."""
        return [one["href"] or "" for one in self.all("a", href=True)]

    def link(self, words: str) -> str | None:
        """Return the address of the link with a text, or None."""
        return next((one["href"] for one in self.all("a", href=True) if one.text == words), None)

    def link_to(self, pattern: str) -> str:
        """Return the first address of a link that begins with a pattern."""
        return next(one for one in self.links if re.match(pattern, one))

    def row_keys(self, prefix: str = "") -> list[str]:
        """Return the keys of the rows that begin with a prefix, without it."""
        keys = [one["data-key"] or "" for one in self.all(data_key=True)]
        return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]

    def row(self, key: str) -> Element:
        return self.first(data_key=key)

    def cells(self) -> list[str]:
        return [cell.text for cell in self.all("td")]

    def value(self, name: str) -> str | None:
        """Return the value of a form's field: its text, its selected option, or its checked box."""
        fields = [one for one in self if one["name"] == name and one.tag in ("input", "select", "textarea")]
        assert fields, f"no field {name}"
        if fields[0].tag == "textarea":
            return fields[0].content.removeprefix("\n")
        if fields[0].tag == "select":
            options = fields[0].all("option")
            chosen = [one for one in options if "selected" in one.attributes] or options
            return chosen[0]["value"] if "value" in chosen[0].attributes else chosen[0].text
        if fields[0]["type"] in ("checkbox", "radio"):
            return next((one["value"] for one in fields if "checked" in one.attributes), None)
        return fields[0]["value"]

    def wrong(self, field: str) -> str:
        """Return the error beside a field."""
        return " ".join(one.text for one in self.all(id=f"{field}-wrong"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = Element(tag, dict(attrs))
        self.open[-1].children.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while len(self.open) > 1 and self.open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: str | TestResponse) -> Element:
    """Parse a page or a part of one."""
    reader = _Reader()
    reader.feed(page if isinstance(page, str) else page.get_data(as_text=True))
    reader.close()
    return reader.open[0]
