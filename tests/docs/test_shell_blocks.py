"""Every shell block of the README, the tutorial and the page on the API is run as written, against one real service;
in `make soak` also the programs of the page on Python, which `make test` only reads.

The blocks run in a network of their own, so the address that the pages name is free. The password that a reader pastes
is the one that the service is started with.
"""

from __future__ import annotations

import ast
import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import tally_client

from tests.support import command_server
from tests.support.containers import network
from tests.support.markdown import Block, blocks
from tests.support.pace import SOAK, slack
from tests.support.running import ROOT, START_SECONDS, wait_until
from tests.support.terminal import Terminal

PAGES = {name: ROOT / name for name in ("README.md", "docs/tutorial.md", "docs/api.md", "docs/python.md")}
SHELL = "sh"
PYTHON_PAGE = "docs/python.md"  # whose blocks of Python are programs
OTHERS = {"text", "json", "js", "python"}  # languages of blocks that no shell runs
PASSWORD = re.compile(r"^ME='admin:(.+)'$", re.MULTILINE)
STARTS = re.compile(r"make run\b.*")
# Need a package from an index, so tests/install/test_readme.py runs the first one with the package that is built there.
ELSEWHERE = ("tally-events[alerts,oidc,parquet,s3]", "pip install tally-client")
CLIENT = ROOT / "clients" / "python" / "src"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the network of their own is what Linux offers"),
]


def shell_blocks(page: Path) -> list[Block]:
    return [
        block for block in blocks(page) if block.language == SHELL and not any(one in block.text for one in ELSEWHERE)
    ]


def programs(page: Path) -> list[Block]:
    """Return the blocks to run, those of Python as commands."""
    return [
        replace(block, text=f"python - <<'END'\n{block.text}END\n") if block.language == "python" else block
        for block in blocks(page)
        if block in shell_blocks(page) or (block.language == "python" and page == PAGES[PYTHON_PAGE])
    ]


def passwords() -> set[str]:
    return {word for page in PAGES.values() for word in PASSWORD.findall(page.read_text())}


@pytest.fixture(scope="module")
def terminal(short_folder: Path) -> Iterator[Terminal]:
    """A second terminal beside a service that `make run` has started in the first one."""
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    (folder / ".venv").symlink_to(sys.prefix)
    [password] = passwords()
    environment = {"DATA_DIR": str(folder / "var"), "PYTHONPATH": f"{ROOT}:{CLIENT}"}
    first_only = {"ADMIN_PASSWORD": password, "VENV": os.path.relpath(sys.prefix, ROOT)}
    with network() as begin, commands(short_folder) as bin, (folder / "said.txt").open("w") as said:
        first = subprocess.Popen(
            [*begin, "make", "run"],
            cwd=ROOT,
            env=os.environ | environment | first_only,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "Tally is at" in read(folder) or first.poll() is not None, START_SECONDS)
            assert "Tally is at http://127.0.0.1:8000/" in read(folder)
            second = Terminal(folder, environment | {"PATH": f"{bin}:{sys.prefix}/bin:{os.environ['PATH']}"}, begin)
            yield second
            second.close()
        finally:
            first.send_signal(signal.SIGTERM)
            first.wait(slack(20))


@contextmanager
def commands(short_folder: Path) -> Iterator[Path]:
    """Yield the folder of the program `tally`: the installed one, or in `make test` one that starts without imports."""
    if SOAK:
        yield Path(sys.prefix) / "bin"
        return
    with command_server.serving(Path(tempfile.mkdtemp(dir=short_folder))) as folder:
        yield folder


def read(folder: Path) -> str:
    return (folder / "said.txt").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name):
    """Otherwise a block of shell could be on the page without being run."""
    found = {block.language for block in blocks(PAGES[name])}
    assert found <= {SHELL} | OTHERS
    assert shell_blocks(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_no_time_in_a_block_has_passed(name):
    """A time that stands in a block is soon outside of what pages and charts show."""
    assert not [block for block in shell_blocks(PAGES[name]) if re.search(r"\b1[0-9]{12}\b", block.text)]


def test_the_programs_of_the_page_on_python_are_python_of_the_client():
    for block in blocks(PAGES[PYTHON_PAGE]):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom) and node.module == tally_client.__name__:
                    assert {name.name for name in node.names} <= set(tally_client.__all__)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tally":
                    assert callable(getattr(tally_client.Tally, node.attr))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] if name == PYTHON_PAGE else []) for name in PAGES]
)
def test_every_shell_block_of_the_page_works_as_written(terminal, name):
    assert len(passwords()) == 1
    printed = ""
    for block in programs(PAGES[name]):
        if STARTS.fullmatch(block.text.strip()):
            continue  # the fixture has run it, in the first terminal
        code, output = terminal.run(block.text)
        assert code == 0, f"{name}, line {block.line}: {output}"
        printed += output
    if name == "docs/tutorial.md":
        with (terminal.folder / "portfolio.csv").open() as file:
            head, *rows = csv.reader(file)
        assert head == ["timestamp", "type", "userId", "viewName", "extra"]
        assert {tuple(row[2:]) for row in rows} >= {("user-1", "Overview", ""), ("user-1", "Holdings", "")}
    if name == PYTHON_PAGE:
        assert printed.count("Overview") == 3  # in the DataFrame of yesterday
        assert re.search(r"^user-1 \d+\nuser-2 1$", printed, re.MULTILINE)


def test_a_block_that_fails_is_noticed(tmp_path):
    terminal = Terminal(tmp_path, {})
    assert terminal.run("A=1\nfalse\necho done")[0] == 1
    assert terminal.run('test "$A" = 1\nfalse || true') == (0, "\n")
    assert terminal.run("curl http://127.0.0.1:9/ | cat")[0] == 1
    terminal.close()
