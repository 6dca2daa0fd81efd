"""Form field for codes and names, of which a user types one on each line."""

from __future__ import annotations

from wtforms import TextAreaField


class LinesField(TextAreaField):
    """Text area whose `lines` are its content without blank lines."""

    @property
    def lines(self) -> list[str]:
        """Return the lines, stripped."""
        return split_lines(self.data or "")


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, stripped and without blank ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]
