"""The complete service, `flask serve` with a Valkey of its own, used as clients use it.

The time of a report is a client's: from the request to the response that says COMPLETE, mostly polled every 20 ms.
"""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import processes
from bench.export_baselines import CATALOG
from bench.scattered_rows import PRODUCT, WANTED
from bench.servers import (
    HOST,
    LOG,
    ROOT,
    START_SECONDS,
    BenchFailed,
    await_port,
    free_port,
    launch,
    own_environment,
    stop,
)

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 600  # for one report
PASSWORD = "of the benchmark alone"
AUTHORIZATION = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
WEB_PROGRAM = str(ROOT / "app" / "ops" / "web.py")
Output = Mapping[str, object]  # of a report's request


class Refused(Exception):
    """The API rejects the request; the message is its response."""


@dataclass(frozen=True)
class Done:
    """A complete report."""

    seconds: float
    rows: int
    sha256: str
    peak: float  # MiB: the peak resident memory of the processes that wrote it, in total


@dataclass
class Whole:
    """A running service."""

    port: int
    pid: int
    folder: Path
    _connection: http.client.HTTPConnection = field(init=False)
    _workers: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._workers = [pid for pid in processes.below(self.pid) if _is_worker(pid)]
        self._connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_SECONDS)

    def report(
        self, output: Output, customer: str = WANTED, *, poll_seconds: float = POLL_SECONDS, **filter: object
    ) -> Done:
        """Start a report, and wait for it.

        Args:
            poll_seconds: pause between two polls; each takes about 3 ms of the processors.

        Raises:
            Refused: the API rejects this output.
            BenchFailed: it failed.
        """
        self._get("/reports?limit=1")  # so that the connection exists and the password was checked
        body = {"filter": {"customer": customer, "product": PRODUCT, **filter}, "output": output}
        began, peak = time.perf_counter(), 0.0
        path = f"/reports/{self._ask('POST', '/reports', json.dumps(body))['source']}"
        while (status := self._get(f"{path}/availability")["status"]) == "RUNNING":
            peak = max(peak, self._memory_of_writers())
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise BenchFailed(f"A report has not ended for {PATIENCE_SECONDS} s.")
            time.sleep(poll_seconds)
        seconds = time.perf_counter() - began
        progress = self._get(f"{path}/progress")
        if status != "COMPLETE":
            raise BenchFailed(f"A report ended {status}: {progress}\n{(self.folder / LOG).read_text()[-3000:]}")
        return Done(seconds, progress["file"]["rows"], progress["file"]["sha256"], peak)

    def refuse(self, number: int) -> None:
        """Send so many rejected events, each with one of five kinds of faults."""
        faults = ({"timestamp": -1}, {"type": ""}, {"customer": None}, {"context": {}}, {"product": "x" * 200})
        good = {"customer": WANTED, "product": PRODUCT, "type": "REFUSED", "timestamp": 0, "context": []}
        self._ask("POST", "/events", json.dumps([good | faults[i % len(faults)] for i in range(number)]), lenient=True)

    def web_peak(self) -> float:
        """Return the peak resident memory of the largest web process in MiB."""
        mains = [pid for pid in processes.below(self.pid) if processes.command(pid)[2:3] == [WEB_PROGRAM]]
        return max(processes.memory(pid, "VmHWM") for main in mains for pid in (main, *processes.below(main)))

    def _get(self, path: str) -> dict:
        return self._ask("GET", path, None)

    def _ask(self, verb: str, path: str, body: str | None, *, lenient: bool = False) -> dict:
        headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
        headers |= {"Prefer": "handling=lenient"} if lenient else {}
        try:
            self._connection.request(verb, path, body, headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except http.client.RemoteDisconnected:  # it was idle for too long
            self._connection.close()
            return self._ask(verb, path, body, lenient=lenient)
        if answer.status == 400:
            raise Refused(_reason(json.loads(said)[0]))
        if answer.status != 200:
            raise BenchFailed(f"{verb} {path} was answered {answer.status}: {said[:500].decode(errors='replace')}")
        return json.loads(said)

    def _memory_of_writers(self) -> float:
        """Return the MiB of the report workers' descendants: a child for each report, and its own children."""
        children = {child for worker in self._workers for child in processes.below(worker)}
        return sum(processes.memory(pid, "VmHWM") for pid in children)


@contextmanager
def whole(folder: Path, database_url: str, **settings: str) -> Iterator[Whole]:
    """Serve a database; the service's data, including report files, is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    own = {"REDIS_URL": "", "ADMIN_PASSWORD": PASSWORD} | settings
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "serve"]
    environment = {**own_environment(folder, database_url, port), **own}
    process = launch(command, folder, environment)
    try:
        await_port(process, port, "service", folder / LOG)
        load = [*command[:-1], "catalog", "import", str(CATALOG)]
        subprocess.run(load, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        _await_workers(process.pid, int(settings.get("WORKERS", "1")))
        started = Whole(port, process.pid, folder)
        started.report({}, start=0, end=0)  # has no rows, so that every process exists and has done something
        yield started
    finally:
        stop(process)


def _await_workers(pid: int, number: int) -> None:
    """Wait until the workers have replaced the command they are started with."""
    until = time.monotonic() + START_SECONDS
    while sum(_is_worker(one) for one in processes.below(pid)) < number:
        if time.monotonic() > until:
            raise BenchFailed(f"The service has not started {number} workers within {START_SECONDS} s.")
        time.sleep(0.1)


def _is_worker(pid: int) -> bool:
    return processes.command(pid)[1:3] == ["-m", "worker"]


def _reason(error: Mapping) -> str:
    """Return the innermost message of an error."""
    return _reason(error["children"][0]) if error["children"] else error["value"]["message"]
