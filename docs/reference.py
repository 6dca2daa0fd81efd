"""Write the pages of docs/reference/ from the commands and from OpenAPI: `python docs/reference.py`, or `make docs`."""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from app import create_app  # noqa: E402 - found by the lines above
from app.cli.main import tally  # noqa: E402
from app.config import Settings  # noqa: E402

FOLDER = ROOT / "docs" / "reference"
GENERATED = "<!-- `make docs` writes this page. Change the source of what it describes instead. -->"
WIDTH = 100
HELP = {"--help", "-h"}


def commands() -> str:
    """Return the page of all commands of `tally`."""
    lines = [
        "# Every command",
        GENERATED,
        "Every command has `--help`, and exits with 1 if it fails and 2 if it is called wrongly.",
    ]
    for _, command in sorted(tally.commands.items()):
        lines += _describe(command, click.Context(tally, info_name="tally"), level=2)
    return _page(lines)


def _describe(command: click.Command, parent: click.Context, level: int) -> Iterator[str]:
    if command.hidden:
        return
    context = click.Context(command, info_name=command.name, parent=parent)
    yield f"{'#' * level} {context.command_path}"
    yield _text(command.help or "")
    if isinstance(command, click.Group):
        for _, one in sorted(command.commands.items()):
            yield from _describe(one, context, level + 1)
        return
    yield f"```text\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```"
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = [record for record in records if record and record[0].split(",")[0] not in HELP]
    if rows:
        yield _table(("option", "meaning"), [(f"`{_cell(option)}`", _cell(meaning)) for option, meaning in rows])


def requests() -> str:
    """Return the page of all requests of the API."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), secret_key="a key for the reference"))  # noqa: S106
        document = app.test_client().get("/openapi.json").get_json()
    lines = [
        "# Every request",
        GENERATED,
        _text(
            "`/docs` of a running service shows each request with the shapes of its bodies, and sends it. "
            "`/openapi.json` is the same for programs. [The API by example](../api.md) is the introduction."
        ),
    ]
    for tag in document["tags"]:
        lines += [f"## {tag['name'].capitalize()}", _text(tag["description"])]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    lines += _request(document, method.upper(), path, operation)
    return _page(lines)


def _request(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield _text(f"{operation['summary'].rstrip('.')}. {operation.get('description', '')}")
    if body := operation.get("requestBody"):
        yield _text(f"Body: {', '.join(f'`{kind}`' for kind in body['content'])}.")
    parameters = [_resolve(document, one) for one in operation.get("parameters", [])]
    if parameters:
        sent = [(f"`{one['name']}`", one["in"], _cell(one.get("description", ""))) for one in parameters]
        yield _table(("parameter", "in", "meaning"), sent)
    answers = sorted(operation["responses"].items())
    returned = [(status, _cell(_resolve(document, answer)["description"])) for status, answer in answers]
    yield _table(("status", "meaning"), returned)


def _resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return what a `$ref` refers to."""
    found: Any = value
    if reference := value.get("$ref"):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    return dict(found)


def _text(text: str) -> str:
    """Return paragraphs, wrapped."""
    paragraphs = [" ".join(one.split()) for one in text.replace("\b", "").split("\n\n")]
    return "\n\n".join(textwrap.fill(_plain(one), WIDTH, break_on_hyphens=False) for one in paragraphs)


def _plain(text: str) -> str:
    """Escape what Markdown would read as HTML."""
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


PAGES = {"commands.md": commands, "http.md": requests}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")
