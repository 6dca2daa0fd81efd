"""Reading back: events a page at a time or as they are accepted, and reports as files, DataFrames and tables."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union
from urllib.parse import urlencode

from tally_client.encode import EPOCH, TIME_RULE, to_milliseconds
from tally_client.errors import DownloadFailed, InvalidSetting, LibraryMissing, ReportFailed, RequestFailed
from tally_client.transport import AGENT, Response, Server

if TYPE_CHECKING:
    import pandas
    import pyarrow

Moment = Union[int, datetime, date]
Codes = Union[str, Sequence[str]]

PAGE_EVENTS = 1000
TIMEOUT_SECONDS = 30.0  # without a byte from the service
PATIENCE_SECONDS = 60.0  # with a service that cannot be reached
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
BLOCK_BYTES = 256 * 1024
JSONL_FIELDS = ("customer", "product", "type", "timestamp", "context", "sequence", "batch", "received")
MAX_HEAD_BYTES = 1024 * 1024  # within which the first line of a file ends
DAY = timedelta(days=1)
RANGE_RULE = f"{TIME_RULE}, or a date, which is the whole day in UTC"
TEMPORARY = (429, 502, 503, 504)


@dataclass(frozen=True)
class Event:
    """An event as stored.

    Attributes:
        timestamp: when it happened, in milliseconds since 1970. `time` is the same as a datetime.
        sequence: its place in its batch, from 1.
        received: when the service accepted it, in milliseconds since 1970.
    """

    customer: str
    product: str
    type: str
    version: str | None
    timestamp: int
    context: list[str | None]
    sequence: int
    batch: str
    received: int

    @property
    def time(self) -> datetime:
        """Return when it happened, in UTC."""
        return EPOCH + timedelta(milliseconds=self.timestamp)


class Changes(NamedTuple):
    """Events in the order of acceptance, and the cursor with which those that follow are read."""

    events: list[Event]
    cursor: str


@dataclass(frozen=True)
class Progress:
    """How far a report is. What is not known yet is None.

    Attributes:
        stage: "waiting", "writing" or "downloading".
        done: rows written, or bytes downloaded.
        total: of rows or bytes.
        percent: of this stage.
    """

    stage: str
    done: int | None
    total: int | None
    percent: int | None


def make_filter(
    customer: str | None,
    product: str | None,
    types: Codes,
    start: Moment | None,
    end: Moment | None,
) -> dict[str, Any]:
    """Return a filter of the API without what is None. A date is the whole day in UTC; `start` and `end` are included.

    Raises:
        InvalidSetting: a time has no time zone or is out of range.
    """
    given: dict[str, Any] = {
        "customer": customer,
        "product": product,
        "types": [types] if isinstance(types, str) else list(types),
        "start": None if start is None else _milliseconds(start, "start"),
        "end": None if end is None else _milliseconds(end, "end"),
    }
    return {name: value for name, value in given.items() if value not in (None, [])}


def name_codes(name: str, codes: Codes) -> dict[str, Any]:
    """Return the part of a report's filter for one code, or for a list of several."""
    return {name: codes} if isinstance(codes, str) else {f"{name}s": list(codes)}


def _milliseconds(moment: Moment, field: str) -> int:
    if isinstance(moment, date) and not isinstance(moment, datetime):
        midnight = datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc)
        return to_milliseconds(midnight, field) if field == "start" else to_milliseconds(midnight + DAY, field) - 1
    try:
        return to_milliseconds(moment, field, RANGE_RULE)
    except ValueError as error:
        raise InvalidSetting(str(error)) from None


class Reader:
    """Requests of readers. Those that fail for a while are repeated for `PATIENCE_SECONDS`."""

    def __init__(self, server: Server, headers: Mapping[str, str]) -> None:
        self._server = server
        self._headers = headers

    def events(self, filter: Mapping[str, Any], limit: int | None) -> Iterator[Event]:
        """Yield the events that match, newest first."""
        remaining, after = limit, None
        while remaining is None or remaining > 0:
            count = PAGE_EVENTS if remaining is None else min(remaining, PAGE_EVENTS)
            query = {**filter, "limit": count, **({"after": after} if after else {})}
            page = self.ask("GET", f"/events?{urlencode(query, doseq=True)}")
            for event in page["events"]:
                yield Event(version=event.pop("version", None), **event)
            after = page.get("next")
            if after is None:
                return
            remaining = None if remaining is None else remaining - len(page["events"])

    def changes(self, filter: Mapping[str, Any], after: str | None, wait: int) -> Iterator[Changes]:
        """Yield the events after a cursor as they are accepted; without a wait, only up to the last one."""
        while True:
            query = {**filter, "limit": PAGE_EVENTS, "wait": wait, **({"after": after} if after else {})}
            page = self.ask("GET", f"/events/changes?{urlencode(query, doseq=True)}", wait_seconds=wait)
            events = [Event(version=event.pop("version", None), **event) for event in page["events"]]
            has_advanced, after = page["next"] != after, page["next"]
            if has_advanced:
                yield Changes(events, page["next"])
            elif not wait:
                return

    def ask(self, method: str, path: str, body: object = None, wait_seconds: float = 0) -> Any:
        """Send a request, and return the JSON of the response, None if it has none.

        Args:
            wait_seconds: how long the service may wait before it responds.

        Raises:
            RequestFailed: the service rejects it, or cannot be reached for a long time.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {})}
        pauses, until = backoff(), time.monotonic() + PATIENCE_SECONDS + wait_seconds
        while True:
            try:
                with self._open(method, self._server.url + path, data, headers, wait_seconds) as response:
                    content = response.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                answer = Response(error.code, error.headers, error.read())
                failed, pause = RequestFailed(answer.reason(), error.code), answer.retry_after()
                is_final = error.code not in TEMPORARY
            except (OSError, HTTPException) as error:
                failed, pause = RequestFailed(f"{self._server.url} cannot be reached: {error}"), 0.0
                is_final = method != "GET"  # a report may have been started
            pause = max(pause, next(pauses))
            if is_final or time.monotonic() + pause > until:
                raise failed from None
            time.sleep(pause)

    def download(self, link: str, offset: int, etag: str | None) -> Any:
        """Open a link to a file, from a byte on if the file is still the same."""
        if not link.startswith(("http://", "https://")):
            raise DownloadFailed(f"The service returned a link that is no web address: {link}")
        headers = {"Range": f"bytes={offset}-", **({"If-Range": etag} if etag else {})} if offset else {}
        request = urllib.request.Request(link, headers={"User-Agent": AGENT, **headers})  # noqa: S310
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310

    def _open(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], wait_seconds: float) -> Any:
        request = urllib.request.Request(url, data, {"User-Agent": AGENT, **headers}, method=method)  # noqa: S310
        for name, value in self._headers.items():  # which must not follow a redirect to another server
            request.add_unredirected_header(name, value)
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS + wait_seconds)  # noqa: S310


def backoff() -> Iterator[float]:
    """Yield growing pauses in seconds, with jitter."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311
        longest = min(MAX_PAUSE_SECONDS, longest * 1.5)


OnProgress = Callable[[Progress], object]


class Report:
    """A report of the service: a file with all events that matched when it was started.

    Attributes:
        source: its name in the API.
        format: of its file, "csv", "jsonl" or "parquet".
    """

    def __init__(self, reader: Reader, job: Mapping[str, Any]) -> None:
        self._reader = reader
        self._output: Mapping[str, Any] = job.get("output") or {}
        self.source: str = job["source"]
        self.format: str = self._output.get("format", "csv")

    def status(self) -> str:
        """Return "RUNNING", "COMPLETE", "FAILED" or "TIMEOUT"."""
        return str(self._reader.ask("GET", f"/reports/{self.source}/availability")["status"])

    def wait(self, timeout: float | None = None, progress: OnProgress | None = None) -> Report:
        """Wait until the file is complete, and return the report.

        Args:
            timeout: in seconds; None means as long as the report runs.
            progress: called with a `Progress` after each look.

        Raises:
            ReportFailed: the report failed, timed out or was cancelled.
            TimeoutError: it still runs.
        """
        until = None if timeout is None else time.monotonic() + timeout
        for pause in backoff():
            status = self.status()
            if progress is not None:
                known = self._reader.ask("GET", f"/reports/{self.source}/progress")
                stage = "waiting" if "queue_position" in known else "writing"
                progress(Progress(stage, known.get("rows"), known.get("total"), known.get("percent")))
            if status == "COMPLETE":
                break
            if status != "RUNNING":
                raise ReportFailed(
                    f"The report {self.source} ended with {status}. Its page in the dashboard shows why."
                )
            if until is not None and time.monotonic() + pause > until:
                raise TimeoutError(f"The report {self.source} has not ended within {timeout} s. It continues to run.")
            time.sleep(pause)
        return self

    def to_file(
        self, path: str | os.PathLike[str], progress: OnProgress | None = None, timeout: float | None = None
    ) -> Path:
        """Wait for the report, download its file, and return the path.

        A connection that breaks is resumed, with a new link each time. `path` appears only once the file is complete
        and its size and SHA-256 are right; until then it is beside it under the name of the report.

        Raises:
            ReportFailed, TimeoutError: see `wait`.
            DownloadFailed: the file cannot be downloaded, or is not what the service wrote.
        """
        self.wait(timeout, progress)
        file = self._reader.ask("GET", f"/reports/{self.source}/progress")["file"]
        target = Path(path)
        part = target.with_name(f"{target.name}.{self.source}.part")
        self._download(part, file["bytes"], progress)
        digest = hashlib.sha256()
        with part.open("rb") as content:
            while block := content.read(BLOCK_BYTES):
                digest.update(block)
        if digest.hexdigest() != file["sha256"]:
            part.unlink()
            raise DownloadFailed(f"The file of {self.source} does not have the SHA-256 that the service recorded.")
        part.replace(target)
        return target

    def to_pandas(self, progress: OnProgress | None = None) -> pandas.DataFrame:
        """Return the report as a DataFrame: `timestamp` in UTC, all other columns of CSV as strings.

        In CSV, missing and empty values are both missing; the format "parquet" distinguishes them.

        Raises:
            LibraryMissing: pandas, or pyarrow for the format "parquet", is not installed.
            ReportFailed, DownloadFailed: see `to_file`.
        """
        pandas = _library("pandas")
        if self.format == "parquet":
            _library("pyarrow")
        with self._temporary(progress) as path:
            if self.format == "parquet":
                return pandas.read_parquet(path)
            if self.format == "jsonl":
                frame = pandas.read_json(path, lines=True, dtype=False, date_unit="ms", compression=self._coding)
                if frame.empty:
                    frame = pandas.DataFrame(columns=JSONL_FIELDS)
            else:
                frame = self._read_csv_frame(pandas, path)
        first = 0 if self.format == "csv" and not self._has_header else "timestamp"
        if first in frame:
            times = frame[first]
            numbers = times if times.dtype.kind == "M" else times.astype("int64")  # older versions of pandas convert
            frame[first] = pandas.to_datetime(numbers, unit="ms", utc=True)
        return frame

    def to_arrow(self, progress: OnProgress | None = None) -> pyarrow.Table:
        """Return the report as an Arrow table: `timestamp` in UTC, all other columns of CSV as strings.

        Raises:
            LibraryMissing: pyarrow is not installed.
            InvalidSetting: the delimiter is not ASCII, and pyarrow reads no other.
            ReportFailed, DownloadFailed: see `to_file`.
        """
        arrow = _library("pyarrow")
        if self.format == "csv" and not self._delimiter.isascii():
            raise InvalidSetting(
                f"The delimiter of {self.source} is {self._delimiter}, and pyarrow reads ASCII ones only. "
                "Call to_pandas, or start the report with another one."
            )
        with self._temporary(progress) as path:
            if self.format == "parquet":
                return import_module("pyarrow.parquet").read_table(path)
            table = self._read_jsonl(arrow, path) if self.format == "jsonl" else self._read_csv(arrow, path)
        place = 0 if self.format == "csv" else table.column_names.index("timestamp")
        times = table.column(place).cast(arrow.timestamp("ms", "UTC"))
        return table.set_column(place, table.column_names[place], times)

    def delete(self) -> None:
        """Cancel the report if it runs, and remove its file if it has one."""
        self._reader.ask("DELETE", f"/reports/{self.source}")

    @property
    def _delimiter(self) -> str:
        return str(self._output.get("delimiter", "|"))

    @property
    def _has_header(self) -> bool:
        return bool(self._output.get("header"))

    @property
    def _coding(self) -> str | None:
        coding = self._output.get("compression", "none")
        return None if coding == "none" else str(coding)

    def _read_csv_frame(self, pandas: Any, path: Path) -> Any:
        try:
            return pandas.read_csv(
                path,
                sep=self._delimiter,
                engine="c" if self._delimiter.isascii() else "python",
                header=0 if self._has_header else None,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                compression=self._coding,
            )
        except pandas.errors.EmptyDataError:  # neither events nor a header
            return pandas.DataFrame({0: []})

    def _read_csv(self, arrow: Any, path: Path) -> Any:
        reading = import_module("pyarrow.csv")
        with arrow.input_stream(str(path), compression=self._coding) as file:
            head = file.read(MAX_HEAD_BYTES).decode("utf-8", "ignore")
        if not head:
            return arrow.table({"timestamp": arrow.array([], arrow.int64())})
        names = next(csv.reader(io.StringIO(head, newline=""), delimiter=self._delimiter))
        if not self._has_header:
            names = [f"f{place}" for place in range(len(names))]
        types = {name: arrow.string() if place else arrow.int64() for place, name in enumerate(names)}
        with arrow.input_stream(str(path), compression=self._coding) as file:
            return reading.read_csv(
                file,
                read_options=reading.ReadOptions(autogenerate_column_names=not self._has_header),
                parse_options=reading.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=reading.ConvertOptions(
                    column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
                ),
            )

    def _read_jsonl(self, arrow: Any, path: Path) -> Any:
        reading = import_module("pyarrow.json")
        texts = dict.fromkeys(("customer", "product", "type", "version", "batch"), arrow.string())
        numbers = dict.fromkeys(("timestamp", "sequence", "received"), arrow.int64())
        schema = arrow.schema({**texts, **numbers, "context": arrow.list_(arrow.string())})
        with arrow.input_stream(str(path), compression=self._coding) as file:
            if not file.read(1):
                return schema.empty_table()
        with arrow.input_stream(str(path), compression=self._coding) as file:
            return reading.read_json(file, parse_options=reading.ParseOptions(explicit_schema=schema))

    @contextlib.contextmanager
    def _temporary(self, progress: OnProgress | None) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            yield self.to_file(Path(folder) / "report", progress)

    def _download(self, part: Path, size: int, progress: OnProgress | None) -> None:
        """Download the file, or the rest of it."""
        part.touch()
        etag, pauses, until = None, backoff(), time.monotonic() + PATIENCE_SECONDS
        while (offset := part.stat().st_size) < size:
            link = self._reader.ask("GET", f"/reports/{self.source}")["link"]  # another one each time, so none expires
            failed = "the connection broke"
            try:
                with self._reader.download(link, offset, etag) as response:
                    etag = response.headers.get("ETag")
                    with part.open("ab" if response.status == 206 else "wb") as file:
                        while block := response.read(BLOCK_BYTES):
                            file.write(block)
                            if progress is not None:
                                done = file.tell()
                                progress(Progress("downloading", done, size, done * 100 // size))
            except urllib.error.HTTPError as error:
                answer = Response(error.code, error.headers, error.read())
                if answer.status not in TEMPORARY:
                    raise DownloadFailed(f"The file of {self.source} cannot be downloaded: {answer.reason()}") from None
                failed = answer.reason()
            except (ConnectionError, TimeoutError, urllib.error.URLError, HTTPException) as error:
                failed = str(error) or type(error).__name__
            if part.stat().st_size > offset:
                pauses, until = backoff(), time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > until:
                raise DownloadFailed(f"The file of {self.source} cannot be downloaded: {failed}. Call to_file again.")
            if part.stat().st_size < size:
                time.sleep(next(pauses))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise LibraryMissing(f"{name} is not installed. Install it with: pip install {name}") from None
