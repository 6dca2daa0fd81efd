"""`flask events import`: every line of a file is stored once, even across interruptions."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import zstandard

from app.exceptions import ImportOvertaken
from app.exports import reading
from app.services.events.import_formats import Csv
from app.services.events.importing import Importing, Source
from app.store.database import database, release
from app.store.events import imports, rejected
from app.store.events.writer import GroupCommitWriter
from tests.support import forked
from tests.support.client import FIRST, event
from tests.support.pace import times
from tests.support.running import PYTHONPATH, wait_until

HALF = b'{"customer": "BARCHART", "produ'
MARK = b"\xef\xbb\xbf"  # UTF-8 byte order mark, which some editors write
CSV = ("--customer", "BARCHART", "--product", "COPY")
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def numbered(count: int, first: int = 0) -> list[dict]:
    return [event(context=[str(number)]) for number in range(first, first + count)]


def lines(events: list[dict]) -> bytes:
    return b"".join(json.dumps(sent).encode() + b"\n" for sent in events)


def stored(product: str = "PORTFOLIO") -> list[tuple]:
    """Return (timestamp, type, context, sequence) of the stored events in order of acceptance."""
    query = f"SELECT timestamp, type, context, sequence FROM event WHERE product = {database.param} ORDER BY id"
    rows = database.execute_sql(query, (product,)).fetchall()
    return [(at, kind, json.loads(c) if isinstance(c, str) else c, s) for at, kind, c, s in rows]


def contexts() -> list[str]:
    return [context[0] for _, _, context, _ in stored()]


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(content: bytes, name: str = "events.ndjson") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(reading, "MAX_CHUNK_RECORDS", 10)


def test_every_line_is_an_event(prints, file, services):
    path = file(lines([event(context=["a", None, ""]), event(type="X", version="7", timestamp=5)]))
    assert prints("events", "import", path) == {"file": "events.ndjson", "events": 2, "rejected": 0, "lines": 2}
    assert stored() == [(FIRST, event()["type"], ["a", None, ""], 1), (5, "X", ["user-1", "Overview"], 2)]
    assert services.catalog.known()[0] == ["BARCHART"]


@pytest.mark.parametrize("name", ["events.ndjson", "events.gz", "events.zst", "events"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_the_compression_of_a_file_is_detected_by_its_content(succeeds, file, compress, name):
    succeeds("events", "import", file(compress(lines(numbered(3))), name))
    assert contexts() == ["0", "1", "2"]


def test_several_members_and_frames_are_one_file(succeeds, file):
    parts = [lines(numbered(2)), lines(numbered(2, 2))]
    succeeds("events", "import", file(b"".join(map(gzip.compress, parts)) + b"\0" * 512))
    succeeds("events", "import", file(b"".join(map(zstandard.compress, parts))))
    assert contexts() == ["0", "1", "2", "3"] * 2


def test_standard_input_is_accepted(prints):
    result = prints("events", "import", "-", input=gzip.compress(lines(numbered(3))))
    assert result == {"file": "standard input", "events": 3, "rejected": 0, "lines": 3}
    assert contexts() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n \n", lines(numbered(2)).rstrip(), b"\xef\xbb\xbf" + lines(numbered(2)).replace(b"\n", b"\r\n\r\n")],
    ids=["nothing", "blank lines", "no last line end", "as Windows has it"],
)
def test_blank_lines_and_windows_line_ends_are_ignored(prints, file, content):
    number = 2 if b"{" in content else 0
    result = prints("events", "import", file(content))
    assert (result["events"], result["rejected"]) == (number, 0)
    assert len(stored()) == number


def test_invalid_lines_are_stored_as_rejected_and_do_not_stop_the_import(flask, file):
    wrong = event(timestamp=-1, own=1.50)
    content = lines(numbered(1)) + b"\n" + lines([wrong]) + HALF + b"\n" + lines(numbered(1, 1)) + b"\xff\n[1]\n"
    result = flask("events", "import", file(content), "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {"file": "events.ndjson", "events": 2, "rejected": 4, "lines": 7}
    assert contexts() == ["0", "1"]
    rejects = {reject.place: reject for reject in rejected.newest(10)}
    assert sorted(rejects) == [3, 4, 6, 7]
    assert rejects[3].reasons[0].startswith("line 3: timestamp is -1; it must be a whole number")
    assert (rejects[3].field, json.loads(rejects[3].event)) == ("timestamp", wrong)
    assert rejects[4].reasons[0].startswith("line 4 is not valid JSON (")
    assert rejects[4].event == HALF.decode()
    assert rejects[6].event == "\\xff"
    assert rejects[7].reasons == ["line 7 is an array; it must be an object."]
    assert {reject.request_id for reject in rejects.values()} == {"import of events.ndjson"}


def test_a_file_of_garbage_does_not_fill_the_table(flask, file, monkeypatch, services):
    monkeypatch.setattr("app.services.events.importing.KEPT_REJECTS", 5)
    result = flask("events", "import", file(lines(numbered(1)) + b"{}\n" * 500), "--json")
    assert json.loads(result.stdout)["rejected"] == 500
    assert len(rejected.newest(100)) == 5
    assert services.rejected.dropped() == 495


@pytest.mark.settings(catalog_mode="strict")
def test_strict_mode_checks_the_catalog(flask, file, sample_catalog):
    result = flask("events", "import", file(lines([event(), event(customer="NOBODY"), event()])), "--json")
    assert result.exit_code == 3
    assert len(stored()) == 2
    (reject,) = rejected.newest(10)
    assert reject.reasons[0].startswith('line 2: customer is "NOBODY", which is not known')


def test_an_endless_line_is_rejected_and_the_others_are_imported(flask, file, monkeypatch):
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 3000)
    monkeypatch.setattr(reading, "OVERLONG_BYTES", 100)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 1000)
    monkeypatch.setattr("app.storage.reading.BLOCK_BYTES", 1000)
    content = lines(numbered(5)) + b'{"customer": "' + b"x" * 20_000 + b"\n" + lines(numbered(5, 5))
    result = flask("events", "import", file(content))
    assert result.exit_code == 3
    assert contexts() == [str(number) for number in range(10)]
    (reject,) = rejected.newest(10)
    assert (reject.place, len(reject.event)) == (6, 100)


def test_a_truncated_file_is_imported_up_to_its_end(flask, file):
    whole = gzip.compress(lines([event(context=[os.urandom(20).hex()]) for _ in range(30_000)]))
    for content in (whole[:-200_000], zstandard.compress(gzip.decompress(whole))[:-200_000]):
        result = flask("events", "import", file(content))
        assert result.exit_code == 1
        assert "The file is cut short" in result.stderr
        assert "Stopped at line 1" in result.stderr
    assert 10_000 <= len(stored()) < 60_000


ONE_DOCUMENT = "It is one JSON document, not NDJSON"
UNREADABLE = {
    "an array": (b'[\n{"customer": 1}]\n', "NDJSON"),
    "laid out": (json.dumps({"events": numbered(2)}, indent=2).encode(), ONE_DOCUMENT),
    "one event": (json.dumps(event(), indent=1).encode(), ONE_DOCUMENT),
    "a request": (json.dumps({"events": numbered(2)}).encode(), ONE_DOCUMENT),
    "UTF-16": (lines(numbered(2)).decode().encode("utf-16"), "It is in UTF-16. Save it in UTF-8"),
    "BE": (lines(numbered(2)).decode().encode("utf-16-be"), "It is in UTF-16"),
    "CSV": (b"1793000000000|T|a\n", "a report's CSV takes a customer and a product"),
    "Parquet": (b"PAR1\x15\x00", "It is a Parquet file"),
    "cut": (gzip.compress(b"")[:5], "cut short"),
    "no gzip": (b"\x1f\x8bnothing", "not the gzip that it begins as"),
    "no zstd": (b"\x28\xb5\x2f\xfdnothing", "not the zstd that it begins as"),
}


@pytest.mark.parametrize(("content", "expected"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_file_is_rejected_with_the_reason(fails, file, content, expected):
    assert expected in fails("events", "import", file(content))
    assert stored() == []


def test_a_positional_report_can_be_imported_unchanged(admin, succeeds, file):
    awkward = [["a|b", None, "", 'q"q', "two\nlines", "\r", " "], [], [None, None], ["é", "\u2028", "😀"], ['"']]
    admin.send(*[event(context=context, type=f"T|{number}") for number, context in enumerate(awkward)])
    for header in (False, True):
        _, report = admin.run_report({"layout": "positional", "header": header})
        succeeds("events", "import", file(report, "report.csv"), *CSV)
    expected = [(FIRST, f"T|{number}", c) for number, c in enumerate(awkward)]
    expected[2] = (FIRST, "T|2", [])  # without trailing nulls
    assert [row[:3] for row in stored("COPY")] == expected * 2


NAMES = {"LOADED": ["viewName", "userId", "theme"], "ADDED": ["x", "extra"], "ONE": ["userId"], "T|5": []}


def catalog(services, **product: object) -> None:
    kinds = [{"code": code, "product": "ANY", "context": names} for code, names in NAMES.items()]
    products = [{"code": code, "columns": ["userId", "viewName", "extra"], **product} for code in ("PORTFOLIO", "COPY")]
    services.catalog.put(json.dumps({"products": products, "types": kinds}).encode())


@pytest.mark.parametrize("arguments", [("--layout", "columns"), ()], ids=["no header", "header"])
def test_a_report_with_columns_can_be_imported_unchanged(admin, services, succeeds, file, small_chunks, arguments):
    catalog(services)
    awkward = [["a|b", None, "", 'q"q', "two\nlines", "\r", " "], [], [None, None], ["é", "\u2028", "😀"], ['"'], [""]]
    sent = [(kind, context) for kind in [*NAMES, "UNKNOWN"] for context in [*awkward, ["v", "u", None, None, "x"]]]
    admin.send(*[event(context=context, type=kind) for kind, context in sent])
    _, report = admin.run_report({"header": not arguments})
    succeeds("events", "import", file(report, "report.csv"), *CSV, *arguments)
    imported = [(kind, strip_nulls(context)) for _, kind, context, _ in stored("COPY")]
    assert imported == [(kind, strip_nulls(context)) for kind, context in sent]


def strip_nulls(context: list[str | None]) -> list[str | None]:
    """Return a context without trailing nulls."""
    return strip_nulls(context[:-1]) if context and context[-1] is None else context


def test_a_resumed_import_with_columns_uses_the_columns_of_its_header(services, file, small_chunks):
    catalog(services)
    rows = [f'{number}|LOADED|u{number}|v||"[""t{number}"",null,""x""]"' for number in range(25)]
    path = file("\n".join(["timestamp|type|userId|viewName|extra_2|extra", *rows]).encode())
    importing = Importing(services.catalog, services.code_limit, GroupCommitWriter(10))
    with path.open("rb") as opened:
        steps = importing.run(Source(opened, path.name, Csv("BARCHART", "COPY")))
        next(steps), next(steps)
        steps.close()
    assert 0 < len(stored("COPY")) < 25
    with path.open("rb") as opened:
        *_, last = importing.run(Source(opened, path.name, Csv("BARCHART", "COPY")))
    assert (last.events, last.rejected) == (25, 0)
    assert [context for _, _, context, _ in stored("COPY")] == [["v", f"u{n}", f"t{n}", None, "x"] for n in range(25)]


def test_a_row_whose_type_has_no_such_names_is_rejected_rather_than_stored_incompletely(flask, services, file):
    catalog(services)
    rows = ["1|LOADED|u|v||", "2|LOADED|u|v|lost|", "3|LOADED|u|v", "4|LOADED|u|v||[", "5|LOADED|u|v||{}", "6|NEW|u|||"]
    content = "\n".join(["timestamp|type|userId|viewName|extra_2|extra", *rows]).encode()
    result = flask("events", "import", file(content), *CSV, "--json")
    assert (json.loads(result.stdout)["events"], json.loads(result.stdout)["rejected"]) == (1, 5)
    reasons = [reject.reasons[0] for reject in sorted(rejected.newest(10), key=lambda reject: reject.place)]
    assert [reason.partition("(")[2].partition(")")[0] for reason in reasons] == [
        "the catalog has no context item extra for the type LOADED",
        "it has 4 cells, and the file 6 columns",
        "extra is no JSON array",
        "extra is no JSON array",
        "the catalog has no context item userId for the type NEW",
    ]


def test_a_time_with_an_exponent_is_rejected_because_a_spreadsheet_has_rounded_it(flask, file):
    result = flask("events", "import", file(b"1.79E+12|A\n1e3|B\n1793000000000.0|C\n"), *CSV, "--json")
    assert (json.loads(result.stdout)["events"], json.loads(result.stdout)["rejected"]) == (1, 2)
    assert stored("COPY") == [(1_793_000_000_000, "C", [], 3)]


def test_a_foreign_header_can_be_skipped(succeeds, file):
    succeeds("events", "import", file(b"When\tWhat\tWho\n5\tT\tme\n"), *CSV, "--delimiter", "tab", "--header")
    assert stored("COPY") == [(5, "T", ["me"], 1)]


def test_invalid_rows_are_stored_as_rejected_and_the_others_imported(flask, file):
    content = b'1|A|x\n-1|B\n\nsoon|C|x\n3|D|a"b|c\n4|E|"open\n5|F|"two\nlines"|y\n6\n7||z\n8|G|\xff\n9|H|'
    result = flask("events", "import", file(content), *CSV, "--json")
    assert json.loads(result.stdout) == {"file": "events.ndjson", "events": 3, "rejected": 7, "lines": 12}
    assert [(at, kind, context) for at, kind, context, _ in stored("COPY")] == [
        (1, "A", ["x"]),
        (5, "F", ["two\nlines", "y"]),
        (9, "H", []),
    ]
    rejects = {reject.place: reject for reject in rejected.newest(10)}
    assert sorted(rejects) == [2, 4, 5, 6, 9, 10, 11]
    assert rejects[2].reasons[0].startswith("line 2: timestamp is -1; it must be")
    assert rejects[4].reasons[0].startswith('line 4: timestamp is "soon"; it must be')
    assert rejects[5].reasons[0].startswith("line 5 is not valid CSV (a quote is out of its place")
    assert json.loads(rejects[2].event) == event(product="COPY", type="B", timestamp=-1, context=[])
    assert rejects[10].reasons[0].startswith("line 10: type is null")


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (b"timestamp|type|userId|viewName\n5|T|a|b\n", CSV, "only the layout positional can be imported"),
        ("5|T\n".encode("utf-16"), CSV, "It is in UTF-16"),
        (b"5|T\n", (*CSV, "--layout", "columns"), "The catalog has no columns for COPY"),
        (b"5,T\n", (*CSV, "--delimiter", ",,"), "delimiter"),
        (b"5|T\n", ("--customer", "", "--product", ""), "takes a customer and a product"),
    ],
)
def test_an_unreadable_csv_file_is_rejected_with_the_reason(fails, file, content, arguments, expected):
    assert expected in fails("events", "import", file(content), *arguments)
    assert stored("COPY") == []


def test_an_ambiguous_file_requires_a_layout(succeeds, fails, services, file):
    catalog(services)
    path = file(b"5|LOADED|a|b|c|d\n")
    assert "say --layout columns or --layout positional" in fails("events", "import", path, *CSV)
    succeeds("events", "import", path, *CSV, "--layout", "positional")
    assert stored("COPY") == [(5, "LOADED", ["a", "b", "c", "d"], 1)]
    succeeds("events", "import", file(b"5|LOADED|a\n"), *CSV)  # no row with columns is this short
    catalog(services, extra="drop")
    assert "without the last column, extra" in fails("events", "import", path, *CSV, "--layout", "columns")


@pytest.mark.parametrize("arguments", [("--customer", "A"), ("--layout", "columns"), ("--product", "P"), ("--header",)])
def test_incomplete_csv_options_are_a_usage_error(flask, file, arguments):
    assert flask("events", "import", file(b"5|T\n"), *arguments).exit_code == 2


def test_a_second_run_stores_nothing(prints, flask, file):
    path = file(lines(numbered(3)) + b"{}\n")
    assert flask("events", "import", path).exit_code == 3
    second = flask("events", "import", path, "--json")
    assert second.exit_code == 3  # the file has rejected lines
    result = json.loads(second.stdout)
    assert result.pop("imported_before") > FIRST
    assert result == {"file": "events.ndjson", "events": 3, "rejected": 1, "lines": 4}
    assert (len(stored()), len(rejected.newest(10))) == (3, 1)


def test_a_file_is_recognized_by_its_content_not_its_name(prints, file):
    prints("events", "import", file(lines(numbered(3))))
    assert "imported_before" in prints("events", "import", file(lines(numbered(3)), "copy"))
    assert "imported_before" not in prints("events", "import", file(lines(numbered(4))))
    assert contexts() == ["0", "1", "2", "0", "1", "2", "3"]


def test_again_imports_a_file_once_more(prints, file):
    path = file(lines(numbered(3)))
    for _ in range(2):
        assert prints("events", "import", path, "--again")["events"] == 3
    assert len(stored()) == 6


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_an_interrupted_import_resumes_after_any_chunk(services, prints, file, small_chunks, compress):
    content = compress(MARK + lines(numbered(25)) + b"\n{}\n" + lines(numbered(25, 25)))
    for steps in range(1, 8):
        run = services.importing.run(Source(io.BytesIO(content), "x"))
        for _ in range(steps):
            next(run, None)
        run.close()
    last = list(services.importing.run(Source(io.BytesIO(content), "x")))[-1]
    assert (last.events, last.rejected, last.line) == (50, 1, 53)
    assert contexts() == [str(number) for number in range(50)]
    assert [reject.place for reject in rejected.newest(10)] == [27]


def test_a_resumed_csv_import_keeps_its_line_numbers_and_its_header(services, file, small_chunks):
    rows = [f'{number}|T|"{number}\nof two lines"|' for number in range(35)]
    content = ("timestamp|type|context1|context2\n" + "\n".join(rows) + "\nx|T\n").encode()
    path = file(content)
    form = {"csv": Csv("BARCHART", "COPY"), "name": "x"}
    with path.open("rb") as first:
        run = services.importing.run(Source(first, **form))
        assert [next(run).line for _ in range(3)] == [1, 20, 40]
    with path.open("rb") as second:
        last = list(services.importing.run(Source(second, **form)))[-1]
    assert (last.events, last.rejected) == (35, 1)
    assert [at for at, *_ in stored("COPY")] == list(range(35))
    assert [reject.place for reject in rejected.newest(10)] == [72]


def test_two_concurrent_imports_store_a_file_once(services, small_chunks):
    runs = [services.importing.run(Source(io.BytesIO(lines(numbered(30))), "x")) for _ in range(2)]
    assert [next(run).offset for run in runs] == [0, 0]
    next(runs[0])
    with pytest.raises(ImportOvertaken):
        next(runs[1])
    list(runs[0])
    assert contexts() == [str(number) for number in range(30)]


def test_a_failed_commit_does_not_advance_the_import(app, services, small_chunks, monkeypatch):
    importing = Importing(services.catalog, services.code_limit, GroupCommitWriter(1))
    advance = imports.advance
    monkeypatch.setattr(imports, "advance", lambda *args: advance(*args) and args[1] < 100 or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(importing.run(Source(io.BytesIO(lines(numbered(30))), "x")))
    assert len(contexts()) == 10
    monkeypatch.undo()
    list(importing.run(Source(io.BytesIO(lines(numbered(30))), "x")))
    assert len(set(contexts())) == len(contexts()) == 30


def test_an_import_killed_several_times_stores_each_line_once(app, settings, file):
    content = lines(numbered(60_000))
    path = file(content + b"broken\n")
    release()
    words, place = (
        ("events", "import", str(path), "--json"),
        {"folder": path.parent, "environment": environment(settings)},
    )
    for seed in range(times(2, 3)):
        before = count_events()
        with forked.Command(*words, **place) as command:
            wait_until(lambda before=before: count_events() != before or command.poll() is not None, 60)
            time.sleep(random.Random(seed).random() * 0.2)
            command.kill()
            assert command.wait() == -signal.SIGKILL
    ended = forked.tally(*words, **place)
    assert ended.returncode == 3
    result = json.loads(ended.stdout)
    assert (result["events"], result["rejected"]) == (60_000, 1)
    assert sorted(map(int, contexts())) == list(range(60_000))
    assert len(rejected.newest(10)) == 1


@sqlite_only
def test_a_terminal_shows_a_progress_bar(app, settings, file):
    path = file(lines(numbered(30_000)))
    leader, follower = os.openpty()
    variables = environment(settings) | {"TERM": "xterm"}
    release()
    with forked.Command(
        "events", "import", str(path), "--json", folder=path.parent, environment=variables, terminal=follower
    ) as command:
        assert command.wait() == 0
        assert json.loads(command.said())["events"] == 30_000
    shown = os.read(leader, 100_000).decode()
    os.close(follower)
    os.close(leader)
    assert "Importing" in shown
    assert "100%" in shown


def environment(settings) -> dict[str, str]:
    """Return the environment of a process that uses the same database."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PYTHONPATH,
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url,
        "SECRET_KEY": settings.secret_key,
    }


def count_events() -> int:
    try:
        return database.execute_sql("SELECT count(*) FROM event").fetchone()[0]
    finally:
        release()
