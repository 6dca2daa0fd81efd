"""The table of docs/settings.md, made from the declarations. `python -m tests.support.settings_page` writes it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import Field, fields
from pathlib import Path

from app.config import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
TABLE = re.compile(r"^\| Setting \|.*?\n(?!\|)", re.DOTALL | re.MULTILINE)


def meanings() -> dict[str, str]:
    """Return the docstring below each declaration, in one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(Settings))).body[0].body
    return {
        declared.target.id: " ".join(below.value.value.split())
        for declared, below in zip(body, body[1:], strict=False)
        if isinstance(declared, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


def default(setting: Field) -> str:
    """Return a setting's default as a variable would contain it."""
    value = setting.default
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def table() -> str:
    """Return the table of all settings."""
    texts = meanings()
    lines = ["| Setting | Unit | Default | Meaning |", "|---|---|---|---|"]
    for setting in fields(Settings):
        shown = f"`{default(setting)}`" if default(setting) else "*empty*"
        unit = setting.metadata["unit"]
        lines.append(f"| `{setting.name.upper()}` | {unit} | {shown} | {texts[setting.name]} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(), count=1))
