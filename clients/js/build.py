"""Write tally.js from src/tally.js, without comments, without needless spaces, and with short private names.

It needs nothing but Python, and the same source gives the same bytes. The source ends each statement with a semicolon,
and has no comment or backtick within a template.

    python clients/js/build.py
"""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

FOLDER = Path(__file__).parent
TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*(?!\s*webpackIgnore|\s*@vite-ignore).*?\*/)
    |(?P<text>"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`|/\*.*?\*/|(?<=\()/(?!/)(?:\\.|\[[^\]]*\]|[^/\\\n])+/[a-z]*)
    |(?P<space>\s+)
    |(?P<word>[\w$#]+)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)


def build(source: str, version: str) -> str:
    """Return the source as it is shipped."""
    written: list[str] = [f"/*! tally-client {version}, MIT licence */\n"]
    kept = [match for match in TOKEN.finditer(source) if match.lastgroup != "comment"]
    for match in kept:
        text = match[0]
        if match.lastgroup != "space":
            written.append(text)
        elif written[-1] != " ":
            written.append(" ")
    joined = written[0]
    for before, text, after in zip(written[:-1], written[1:], [*written[2:], "\n"], strict=True):
        if text != " " or (_is_word(before[-1]) and _is_word(after[0])):
            joined += text
    joined = joined.replace(",}", "}").replace(",]", "]").replace(",)", ")").replace(";}", "}")
    names = sorted(set(re.findall(r"(?<=#)[a-zA-Z]\w*", joined)))
    short = dict(zip(names, string.ascii_letters, strict=False))
    return re.sub(r"(?<=#)[a-zA-Z]\w*", lambda match: short[match[0]], joined) + "\n"


def _is_word(character: str) -> bool:
    return character.isalnum() or character in "_$#"


if __name__ == "__main__":
    version = json.loads((FOLDER / "package.json").read_text())["version"]
    (FOLDER / "tally.js").write_text(build((FOLDER / "src" / "tally.js").read_text(), version))
