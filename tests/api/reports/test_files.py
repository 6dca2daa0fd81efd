"""Report files: their exact bytes, the same from SQLite and PostgreSQL, and as a CSV reader parses them."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest

from tests.support.client import FIRST, Client, event

TYPE = "PORTFOLIO-APPLICATION-LOADED"
AWKWARD = [
    "|",
    ",",
    '"',
    '""',
    '"|"',
    "a\nb",
    "a\r\nb",
    "\r",
    "\n",
    " leading and trailing ",
    "\t",
    "",
    None,
    "NULL",
    "null",
    "\\N",
    "\\.",
    "\\",
    "'",
    "=1+1",
    "@x",
    "{a,b}",
    '{"a":1}',
    "\x01\x7f\x85",
    "\u2028\u2029",
    "\ufeff",
    "שלום עולם",
    "\u202eright to left",
    "😀👨‍👩‍👧🏳️‍🌈",
    "e\u0301",
    "%s %d {} $1 :name ?",
    "x" * 4096,
    "0",
    "1.50",
]


def catalog(services, **document: object) -> None:
    services.catalog.put(json.dumps(document).encode())


def sent_to(client: Client, *contexts: list, **changes: object) -> None:
    client.send(*(event(context=context, **changes) for context in contexts))


class TestPositional:
    def test_its_exact_bytes(self, admin):
        sent_to(admin, AWKWARD, [], ["last"])
        cells = '"|"|,|""""|""""""|"""|"""|"a\nb"|"a\r\nb"|"\r"|"\n"| leading and trailing |\t|""||NULL|null|'
        cells += "\\N|\\.|\\|'|=1+1|@x|"
        cells += '{a,b}|"{""a"":1}"|\x01\x7f\x85|\u2028\u2029|\ufeff|שלום עולם|\u202eright to left|😀👨‍👩‍👧🏳️‍🌈|e\u0301|'
        cells += "%s %d {} $1 :name ?|" + "x" * 4096 + "|0|1.50"
        start, empty = f"{FIRST}|{TYPE}|", "|" * (len(AWKWARD) - 1)
        assert admin.run_report()[1].decode() == f"{start}{cells}\n{start}{empty}\n{start}last{empty}\n"

    def test_it_reads_back_as_every_event_except_trailing_nulls(self, admin):
        contexts = [AWKWARD, [], ["", "x"], [None, "x"], ["x"], ["a", None, "b", None]]
        sent_to(admin, *contexts)
        rows = [read_row(line, "|") for line in split_rows(admin.run_report()[1].decode())]
        assert [row[:2] for row in rows] == [[str(FIRST), TYPE]] * len(contexts)
        assert [without_trailing_nulls(row[2:]) for row in rows] == [
            without_trailing_nulls(items) for items in contexts
        ]

    def test_every_row_is_as_wide_as_the_widest(self, admin):
        sent_to(admin, ["a"], ["a", None, None, None], [])
        assert admin.run_report()[1].decode() == f"{FIRST}|{TYPE}|a|||\n" * 2 + f"{FIRST}|{TYPE}||||\n"

    def test_events_without_context_have_two_columns(self, admin):
        sent_to(admin, [], [])
        assert admin.run_report()[1].decode() == f"{FIRST}|{TYPE}\n" * 2

    def test_only_the_rows_of_the_report_determine_the_width(self, admin):
        sent_to(admin, ["a"] * 100, type="WIDE")
        sent_to(admin, ["a"])
        assert admin.run_report(types=[TYPE])[1].decode() == f"{FIRST}|{TYPE}|a\n"

    def test_its_header_numbers_the_items_of_the_context(self, admin):
        sent_to(admin, ["a", "b", "c"], ["d"])
        _, file = admin.run_report({"header": True})
        assert file.decode() == f"timestamp|type|context1|context2|context3\n{FIRST}|{TYPE}|a|b|c\n{FIRST}|{TYPE}|d||\n"

    def test_an_empty_report_has_the_header(self, admin):
        sent_to(admin, ["a"])
        assert admin.run_report({"header": True}, start=FIRST + 1)[1] == b"timestamp|type\n"

    def test_the_positional_layout_can_be_requested_despite_catalog_columns(self, admin, sample_catalog):
        sent_to(admin, ["a", "b"])
        assert admin.run_report({"layout": "positional"})[1].decode() == f"{FIRST}|{TYPE}|a|b\n"


class TestDelimiters:
    @pytest.mark.parametrize(
        "delimiter", ["|", ",", ";", "\t", " ", "a", "1", "-", "\x01", "\x7f", "'", "\\", "%", "¦", "😀", "\u2028"]
    )
    def test_python_s_reader_parses_each(self, admin, delimiter):
        items = [f"x{delimiter}y", delimiter, delimiter * 2, "plain", "", 'q"q', "two\nlines", "aa11", "-"]
        sent_to(admin, items, ["one"])
        file = admin.run_report({"delimiter": delimiter, "header": True})[1].decode()
        rows = list(csv.reader(io.StringIO(file, newline=""), delimiter=delimiter, lineterminator="\n", strict=True))
        assert rows[0] == ["timestamp", "type", *(f"context{number}" for number in range(1, 10))]
        assert rows[1] == [str(FIRST), TYPE, *items]
        assert rows[2] == [str(FIRST), TYPE, "one"] + [""] * 8

    def test_cells_are_quoted_only_for_the_delimiter_in_use(self, admin):
        sent_to(admin, ["a|b", "a,b", "a¦b"])
        start = f"{FIRST}{{0}}{TYPE}{{0}}"
        for delimiter, cells in [("|", '"a|b"|a,b|a¦b'), (",", 'a|b,"a,b",a¦b'), ("¦", 'a|b¦a,b¦"a¦b"')]:
            file = admin.run_report({"delimiter": delimiter})[1].decode()
            assert file == f"{start.format(delimiter)}{cells}\n"

    def test_a_digit_as_delimiter_quotes_the_timestamp_and_a_letter_the_type_and_header(self, admin):
        sent_to(admin, ["x"])
        assert admin.run_report({"delimiter": "9"})[1].decode() == f'"{FIRST}"9{TYPE}9x\n'
        file = admin.run_report({"delimiter": "O", "header": True})[1].decode()
        assert file == f'timestampOtypeOcontext1\n{FIRST}O"{TYPE}"Ox\n'
        assert admin.run_report({"delimiter": "t", "header": True})[1].startswith(b'"timestamp"t"type"t"context1"\n')


class TestColumns:
    """The contract's example, in which a type with the context `userId, viewName` has its second item in `viewName`."""

    @pytest.fixture(autouse=True)
    def names(self, services) -> None:
        catalog(
            services,
            products=[
                {"code": "PORTFOLIO", "columns": ["userId", "portfolioId", "viewName"]},
                {"code": "DROP", "columns": ["viewName", "userId"], "extra": "drop"},
            ],
            types=[
                {"code": "VIEW", "product": "PORTFOLIO", "context": ["userId", "viewName"]},
                {"code": "MOVE", "product": "PORTFOLIO", "context": ["userId", "viewName", "previous"]},
                {"code": "NAMELESS", "product": "PORTFOLIO", "context": []},
                {"code": "FOREIGN", "product": "OTHER", "context": ["portfolioId"]},
                {"code": "VIEW", "product": "OTHER", "context": ["viewName", "userId"]},
            ],
        )

    def lines(self, client: Client, output: dict | None = None, **filter: object) -> list[str]:
        return client.run_report(output, **filter)[1].decode().splitlines()

    def test_each_item_is_in_the_column_of_its_name(self, admin):
        sent_to(admin, ["u", "v"], type="VIEW")
        assert self.lines(admin) == [f"{FIRST}|VIEW|u||v|"]

    def test_they_are_the_default_if_the_catalog_has_columns(self, admin):
        sent_to(admin, ["u", "v"], type="VIEW")
        assert (
            self.lines(admin) == self.lines(admin, {"layout": "columns"}) != self.lines(admin, {"layout": "positional"})
        )

    def test_the_response_announces_the_columns_of_the_file(self, admin):
        sent_to(admin, ["u", "v"], type="VIEW")
        sent_to(admin, ["u", "v"], type="VIEW", product="DROP")
        for product, output, expected in [
            ("PORTFOLIO", {}, ["timestamp", "type", "userId", "portfolioId", "viewName", "extra"]),
            ("DROP", {}, ["timestamp", "type", "viewName", "userId"]),
            ("PORTFOLIO", {"layout": "positional"}, ["timestamp", "type", "context1", "…"]),
            ("PORTFOLIO", {"format": "jsonl"}, ["customer", "product", "type", "version", "timestamp", "context"]),
            ("DROP", {"format": "parquet"}, ["timestamp", "type", "viewName", "userId", "customer", "product"]),
        ]:
            wanted = {"filter": {"customer": "BARCHART", "product": product}, "output": output}
            assert json.loads(admin.post("/reports", wanted).headers["X-Report-Columns"])[: len(expected)] == expected

    def test_the_header_has_the_catalog_s_columns_in_their_order(self, admin):
        sent_to(admin, ["u", "v"], type="VIEW")
        assert self.lines(admin, {"header": True})[0] == "timestamp|type|userId|portfolioId|viewName|extra"

    def test_missing_and_null_items_are_empty_and_an_empty_string_is_quoted(self, admin):
        sent_to(admin, [], ["u"], [None, "v"], ["", ""], type="VIEW")
        assert self.lines(admin) == [f"{FIRST}|VIEW|{cells}|" for cells in ("||", "u||", "||v", '""||""')]

    def test_a_type_without_names_fills_only_the_last_column(self, admin):
        sent_to(admin, ["u", "v"], type="NAMELESS")
        sent_to(admin, ["u", "v"], type="UNKNOWN")
        assert self.lines(admin) == [f'{FIRST}|{code}||||"[""u"",""v""]"' for code in ("NAMELESS", "UNKNOWN")]

    def test_a_type_of_another_product_uses_that_product_s_names(self, admin):
        sent_to(admin, ["p"], type="FOREIGN")
        assert self.lines(admin) == [f"{FIRST}|FOREIGN||p||"]

    def test_a_type_of_two_products_uses_the_names_of_the_report_s_product(self, admin):
        sent_to(admin, ["u", "v"], type="VIEW")
        assert self.lines(admin) == [f"{FIRST}|VIEW|u||v|"]

    def test_items_without_a_column_are_json_in_the_last_column(self, admin):
        sent_to(admin, ["u", "v", "p", None, 'q"|'], ["u", "v"], ["u", "v", None], type="MOVE")
        sent_to(admin, ["é", "😀\n"], [], type="UNKNOWN")
        job, file = admin.run_report()
        assert file.decode() == (
            f'{FIRST}|MOVE|u||v|"[""p"",null,""q\\""|""]"\n'
            f"{FIRST}|MOVE|u||v|\n"
            f"{FIRST}|MOVE|u||v|[null]\n"
            f'{FIRST}|UNKNOWN||||"[""é"",""😀\\n""]"\n'
            f"{FIRST}|UNKNOWN||||\n"
        )
        assert "rows_with_extra_context" not in admin.get(f"/reports/{job['source']}/progress").get_json()

    def test_they_are_dropped_if_the_catalog_says_so_and_their_rows_counted(self, admin):
        drop = {"product": "DROP"}
        sent_to(admin, ["u", "v", "p"], ["u", "v"], ["u", "v", None], type="MOVE", **drop)
        sent_to(admin, ["x"], [], type="UNKNOWN", **drop)
        job, file = admin.run_report(product="DROP")
        assert file.decode().splitlines() == [f"{FIRST}|MOVE|v|u"] * 3 + [f"{FIRST}|UNKNOWN||"] * 2
        progress = admin.get(f"/reports/{job['source']}/progress").get_json()
        known = ["rows", "total", "percent", "attempt", "rows_with_extra_context", "file"]
        assert (list(progress), progress["rows_with_extra_context"]) == (known, 3)

    def test_a_report_without_extra_context_counts_no_such_rows(self, admin):
        sent_to(admin, ["u", "v"], type="VIEW", product="DROP")
        job, _ = admin.run_report(product="DROP")
        assert admin.get(f"/reports/{job['source']}/progress").get_json()["rows_with_extra_context"] == 0

    def test_awkward_strings_in_columns_are_quoted_as_usual(self, admin):
        sent_to(admin, *([item, "v"] for item in AWKWARD), type="VIEW")
        for delimiter in ("|", "¦"):
            rows = split_rows(admin.run_report({"delimiter": delimiter})[1].decode())
            cells = [read_row(row, delimiter) for row in rows]
            assert [row[2] for row in cells] == AWKWARD
            assert {tuple(row[:2] + row[3:]) for row in cells} == {(str(FIRST), "VIEW", None, "v", None)}


class TestOrder:
    def test_rows_are_sorted_by_timestamp_and_then_acceptance(self, admin):
        sent_to(admin, ["1"], timestamp=5)
        admin.send(*(event(timestamp=time, context=[name]) for time, name in [(9, "2"), (5, "3"), (0, "4"), (5, "5")]))
        sent_to(admin, ["6"], ["7"], timestamp=5)
        items = [line.split("|")[2] for line in admin.run_report()[1].decode().splitlines()]
        assert items == ["4", "1", "3", "5", "6", "7", "2"]

    def test_minimum_and_maximum_timestamps(self, admin):
        sent_to(admin, ["z"], timestamp=253_402_300_799_999)
        sent_to(admin, ["a"], timestamp=0)
        assert admin.run_report()[1].decode() == f"0|{TYPE}|a\n253402300799999|{TYPE}|z\n"


class TestSelection:
    @pytest.fixture(autouse=True)
    def events(self, nobody) -> None:
        for time in (10, 20, 30):
            nobody.send(event(timestamp=time, type="A"), event(timestamp=time, type="B"))
        nobody.send(event(customer="HARBORLINE"), event(product="WATCHLIST"), event(customer="barchart"))

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ({}, "10A 10B 20A 20B 30A 30B"),
            ({"types": []}, "10A 10B 20A 20B 30A 30B"),
            ({"types": ["A"]}, "10A 20A 30A"),
            ({"types": ["B", "A", "B"]}, "10A 10B 20A 20B 30A 30B"),
            ({"types": ["PORTFOLIO-APPLICATION-LOADED"]}, ""),
            ({"start": 20}, "20A 20B 30A 30B"),
            ({"start": 21}, "30A 30B"),
            ({"end": "20"}, "10A 10B 20A 20B"),
            ({"end": 19}, "10A 10B"),
            ({"start": 20, "end": 20}, "20A 20B"),
            ({"start": 0, "end": 253_402_300_799_999, "types": ["B"]}, "10B 20B 30B"),
            ({"start": 31}, ""),
        ],
        ids=range(12),
    )
    def test_only_matching_events_are_included_with_both_ends(self, admin, filter, expected):
        lines = admin.run_report(**filter)[1].decode().splitlines()
        assert " ".join("".join(line.split("|")[:2]) for line in lines) == expected

    def test_a_report_may_select_a_thousand_types(self, admin, services):
        types = [f"T{number}" for number in range(999)]
        catalog(services, types=[{"code": code, "product": "PORTFOLIO"} for code in types])
        assert len(admin.run_report(types=[*types, "A"])[1].decode().splitlines()) == 3


class TestRecordedResult:
    def test_rows_bytes_and_hash_are_recorded(self, admin):
        sent_to(admin, ["ü", "\n"], ["x"])
        job, file = admin.run_report({"header": True})
        recorded = admin.get(f"/reports/{job['source']}/progress").get_json()["file"]
        assert recorded["rows"] == 2
        assert recorded["bytes"] == len(file)
        assert recorded["sha256"] == hashlib.sha256(file).hexdigest()

    def test_the_same_report_again_gives_the_same_bytes(self, admin):
        sent_to(admin, *(["x", str(number)] for number in range(500)))
        assert admin.run_report()[1] == admin.run_report()[1]

    def test_a_file_of_many_rows_is_complete(self, admin):
        for batch in range(3):
            admin.send(*(event(timestamp=number * 3 + batch, context=[f"é{number}"]) for number in range(3_000)))
        lines = admin.run_report()[1].decode().splitlines()
        assert lines == [f"{number * 3 + batch}|{TYPE}|é{number}" for number in range(3_000) for batch in range(3)]


def split_rows(file: str) -> list[str]:
    """Split a file into rows without their line ends; a line end inside quotes does not end a row."""
    rows, row, is_quoted = [], "", False
    for character in file:
        is_quoted ^= character == '"'
        if character == "\n" and not is_quoted:
            rows.append(row)
            row = ""
        else:
            row += character
    assert row == ""
    return rows


def read_row(row: str, delimiter: str) -> list[str | None]:
    """Split a row into cells: nothing is null, two quotes are an empty string. Python's reader does not distinguish
    them.
    """
    cells, cell, is_quoted = [], "", False
    for character in row + delimiter:
        is_quoted ^= character == '"'
        if character == delimiter and not is_quoted:
            cells.append(unquoted(cell))
            cell = ""
        else:
            cell += character
    return cells


def unquoted(cell: str) -> str | None:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell or None


def without_trailing_nulls(items: list[str | None]) -> list[str | None]:
    length = len(items)
    while length and items[length - 1] is None:
        length -= 1
    return items[:length]
