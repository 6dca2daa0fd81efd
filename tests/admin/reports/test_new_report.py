"""The form that starts a report shows each error beside its field."""

from __future__ import annotations

import csv
import io
import json
from urllib.parse import parse_qs

import pytest

from app.admin.reports.new_report import OUTPUT
from app.services.people.principal import SYSTEM
from app.store.events import hourly_counts
from tests.support.client import FIRST, event
from tests.support.page import Element, read

REQUEST = {"customer": "BARCHART", "product": "PORTFOLIO"}
FILLED = {"customer": "BARCHART", "product": "PORTFOLIO", "types": "", "start": "", "end": "", "delimiter": "|"}


@pytest.fixture(autouse=True)
def known_codes(admin):
    admin.send(event(type="A"), event(type="B"), event(customer="OTHER"))


def announced_columns(page: Element) -> list[str]:
    """Return the columns that the form announces for the file."""
    return [name.text for name in page.first(class_="sample").all("th")]


def sample_rows(page: Element) -> list[list[str]]:
    """Return the rows of the preview."""
    rows = [row.cells() for row in page.first(class_="sample").all("tr")]
    return [cells for cells in rows if cells]


def start(visitor, **changes: str):
    return visitor.send("/admin/reports/new", FILLED | changes)


def start_report(boss, services, **changes: str):
    """Submit the form, and return the report that it starts."""
    answer = start(boss, **changes)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    source = answer.headers["Location"].removeprefix("/admin/reports/")
    return services.reports.get(services.accounts.everyone()[0], source)


def test_a_completed_form_starts_the_report_and_redirects_to_it(boss, services):
    report = start_report(boss, services, types="A\r\n\r\n B \r\n", layout="positional", header="y", delimiter=";")
    assert (report.customer, report.product, report.types) == ("BARCHART", "PORTFOLIO", ["A", "B"])
    assert report.output == {"delimiter": ";", "layout": "positional", "header": True}


def test_several_customers_are_one_per_line_and_fill_in_the_form_of_the_same_report(boss, services):
    report = start_report(boss, services, customers=" OTHER \r\nBARCHART\r\n")
    assert (report.customers, report.products, report.product) == (["BARCHART", "OTHER"], None, "PORTFOLIO")
    page = boss.read(f"/admin/reports/JOB-{report.job}")
    assert "BARCHART, OTHER" in page.text
    again = next(link["href"] for link in page.all("a") if link["href"].startswith("/admin/reports/new?"))
    assert form_values(boss.read(again))[0] == "BARCHART"
    assert boss.read(again).value("customers") == "OTHER"
    shown = read(start(boss, customers="OTHER", estimate="y", header="y"))
    assert announced_columns(shown)[:3] == ["timestamp", "type", "customer"]
    assert {row[2] for row in sample_rows(shown)} == {"BARCHART", "OTHER"}


@pytest.mark.parametrize(("first", "more", "line"), [("BARCHART", "OTHER\nX", 2), ("", "OTHER\nBARCHART\nX", 3)])
def test_an_error_about_a_further_customer_names_its_line(boss, first, more, line):
    answer = start(boss, customer=first, customers=more)
    assert f'More customers, line {line}, is "X", which is not known' in read(answer).wrong("customers")


def test_codes_on_one_line_are_answered_by_how_to_enter_them(boss):
    assert "Enter one code per line." in read(start(boss, customers="OTHER, X")).wrong("customers")


def test_empty_fields_are_not_sent(boss, services):
    report = start_report(boss, services, delimiter="")
    assert (report.types, report.start, report.end, report.output) == (None, None, None, None)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-10-26T07:33", "2026-10-26T07:33", (FIRST - 20_000, FIRST - 20_000 + 59_999)),
        ("2026-10-26T07:33:20", "2026-10-26T07:33:20.005", (FIRST, FIRST + 5)),
    ],
)
def test_times_are_utc_and_a_minute_as_the_end_is_included_entirely(boss, services, start, end, expected):
    report = start_report(boss, services, start=start, end=end)
    assert (report.start, report.end) == expected


def test_a_tab_is_entered_as_a_word(boss, services):
    assert start_report(boss, services, delimiter="tab").output == {"delimiter": "\t"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("customer", "", "Customer is missing."),
        ("customer", "BARCHAR", 'Customer is "BARCHAR", which is not known; the nearest known: BARCHART.'),
        ("product", "PORTFOLI", 'Product is "PORTFOLI", which is not known; the nearest known: PORTFOLIO.'),
        ("types", "A\n" + "x" * 129, "Event types, line 2, has 129 characters; it must be"),
        ("start", "soon", 'From is "soon"; it must be a date and time in UTC, such as 2026-11-23T10:57.'),
        ("start", "1969-12-31T00:00", "From is 1969-12-31 00:00:00.000 UTC; it must be a date and time"),
        ("delimiter", "||", 'Delimiter is "||"; it must be one character'),
        ("delimiter", '"', "it must be one character other than a quote"),
        ("layout", "diagonal", 'Layout is "diagonal"; it must be "columns" or "positional".'),
        ("layout", "columns", 'Layout is "columns", but the catalog has no columns for PORTFOLIO'),
    ],
)
def test_each_error_is_shown_beside_its_field(boss, field, value, message):
    answer = start(boss, **{field: value})
    assert answer.status_code == 400
    assert message in read(answer).wrong(field)
    control = read(answer).first(id=field, aria_invalid="true")
    assert control["aria-describedby"].split()[0] == f"{field}-wrong"


def test_an_end_before_the_start_is_reported_with_formatted_dates(boss):
    answer = start(boss, start="2026-11-20T00:00", end="2026-11-19T00:00")
    assert read(answer).wrong("end") == (
        "To is 2026-11-19 00:00:59.999 UTC, before start, 2026-11-20 00:00:00.000 UTC; it must be start or later."
    )


def form_values(page: Element) -> list[str]:
    """Return the values of some fields of the form."""
    texts = [page.value(name) for name in ("customer", "types", "start", "delimiter", "header")]
    return [text and text.replace("\r\n", "\n") for text in texts]


def test_the_input_stays_after_an_error(boss):
    answer = start(boss, customer="NEW<i>", types="A\nB", start="2026-11-20T00:00", delimiter="||", header="y")
    assert form_values(read(answer)) == ["NEW<i>", "A\nB", "2026-11-20T00:00", "||", "y"]


def test_the_url_fills_in_the_form(boss):
    page = boss.read("/admin/reports/new?customer=BARCHART&types=A%0AB&start=2026-11-20T00:00&header=y")
    assert form_values(page)[:3] == ["BARCHART", "A\nB", "2026-11-20T00:00"]


def test_an_analyst_is_offered_own_customers_only(anna):
    page = anna.see("/admin/reports/new")
    assert "BARCHART" in page
    assert "OTHER" not in page


def test_an_analyst_cannot_request_another_customer_s_data(anna):
    answer = start(anna, customer="OTHER")
    assert answer.status_code == 403
    assert read(answer).wrong("customer") == "You may not see data of the customer OTHER."


def test_the_form_makes_a_file_that_spreadsheets_open(boss, services):
    page = boss.read("/admin/reports/new")
    names = ("customer", "product", "types", "format", "layout", "delimiter", "header", "spreadsheetSafe")
    given = {name: page.value(name) for name in names}
    report = start_report(
        boss, services, **{name: value for name, value in given.items() if value is not None} | REQUEST
    )
    assert report.output == {"delimiter": ",", "header": True}
    fields = [one["name"] for one in page if one.tag in ("input", "select") and one["name"] in OUTPUT]
    assert fields[0] == "format"


def test_only_the_options_of_the_format_are_sent(boss, services):
    options = {"layout": "positional", "delimiter": ";", "header": "y", "spreadsheetSafe": "y", "compression": "gzip"}
    for format, expected in (("jsonl", {"compression": "gzip"}), ("parquet", {"layout": "positional"})):
        assert start_report(boss, services, format=format, **options).output == {"format": format} | expected


def test_a_link_to_the_form_keeps_what_it_does_not_name(boss):
    page = boss.read("/admin/reports/new?customer=BARCHART&product=PORTFOLIO")
    assert [page.value(name) for name in ("delimiter", "header")] == [",", "y"]
    page = boss.read("/admin/reports/new?customer=BARCHART&product=PORTFOLIO&header=")
    assert page.value("header") is None


class TestPreview:
    """The first rows, as the file will have them."""

    @pytest.fixture(autouse=True)
    def several_events(self, admin, services):
        columns = {"code": "LIVE", "columns": ["viewName", "userId"]}
        kind = {"code": "VIEWED", "product": "LIVE", "context": ["userId", "viewName"]}
        services.catalog.put(json.dumps({"products": [columns], "types": [kind]}).encode())
        made = [
            event(product="LIVE", type="VIEWED", timestamp=FIRST + 7 - n, context=[f"=u{n}", None]) for n in range(7)
        ]
        admin.send(*made, event(product="LIVE", type="SAID", timestamp=FIRST, context=["a,b", "x"], version="2"))

    @pytest.mark.parametrize("query", ["", "&layout=positional", "&spreadsheetSafe=y", "&types=SAID", "&delimiter=%3B"])
    def test_it_has_the_first_five_rows_of_the_csv(self, boss, services, query):
        page = boss.read(f"/admin/reports/new/part?customer=BARCHART&product=LIVE{query}")
        given = {name: values[0] for name, values in parse_qs(query).items()}
        report = start_report(boss, services, **REQUEST | {"product": "LIVE", "header": "y", "delimiter": ","} | given)
        services.runner.run(report.job)
        file = services.reports.open(services.reports.get(SYSTEM, f"JOB-{report.job}")).read().decode()
        names, *rows = csv.reader(io.StringIO(file), delimiter=given.get("delimiter", ","))
        assert [name for name in announced_columns(page) if name != "…"] == names
        assert sample_rows(page) == rows[:5]

    def test_it_has_the_first_rows_of_json_lines(self, boss):
        page = boss.read("/admin/reports/new/part?customer=BARCHART&product=LIVE&format=jsonl")
        first = dict(zip(announced_columns(page), sample_rows(page)[0], strict=True))
        assert list(first)[:6] == ["customer", "product", "type", "version", "timestamp", "context"]
        assert (first["version"], first["timestamp"], first["context"]) == ("2", str(FIRST), '["a,b","x"]')

    def test_it_has_the_first_rows_of_parquet(self, boss):
        page = boss.read("/admin/reports/new/part?customer=BARCHART&product=LIVE&format=parquet")
        first = dict(zip(announced_columns(page), sample_rows(page)[0], strict=True))
        assert list(first)[:5] == ["timestamp", "type", "viewName", "userId", "customer"]
        assert (first["version"], first["extra"], first["context"]) == ("2", '["a,b","x"]', '["a,b","x"]')

    def test_what_is_left_out_and_what_goes_to_extra_is_said_before(self, boss):
        page = boss.read("/admin/reports/new/part?customer=BARCHART&product=LIVE")
        assert "Not in a CSV: customer, product, version, sequence, batch, received." in page
        assert "Context items without a column of their own go to the column extra, as a JSON array." in page
        page = boss.read("/admin/reports/new/part?customer=BARCHART&product=LIVE&format=parquet&layout=positional")
        assert "Not in a CSV" not in page
        assert "go to the column extra" not in page

    def test_it_says_what_is_wrong_and_waits_for_customer_and_product(self, boss):
        assert "once customer and product are chosen" in boss.read("/admin/reports/new/part?customer=BARCHART")
        page = boss.read("/admin/reports/new/part?customer=BARCHART&product=LIVE&delimiter=%7C%7C")
        assert 'Delimiter is "||"; it must be one character' in page
        assert not page.all(class_="sample")

    def test_an_analyst_sees_no_rows_of_others(self, anna, admin):
        page = anna.read("/admin/reports/new/part?customer=OTHER&product=PORTFOLIO")
        assert "You may not see data of the customer OTHER." in page
        assert not page.all(class_="sample")


class TestEstimate:
    """The estimated number of rows, from the hourly counts."""

    @pytest.fixture(autouse=True)
    def counted(self, known_codes):
        hourly_counts.advance()

    def test_a_form_filled_in_by_its_url_shows_the_estimate(self, boss):
        assert "About 2 rows, by counts" in boss.read("/admin/reports/new?customer=BARCHART&product=PORTFOLIO")
        page = boss.read("/admin/reports/new?customer=BARCHART&product=PORTFOLIO&types=A")
        assert "About 1 row, by counts" in page

    def test_an_empty_form_shows_no_estimate(self, boss):
        assert "by counts" not in boss.read("/admin/reports/new")

    def test_an_estimate_starts_no_report_and_keeps_the_input(self, boss, services):
        answer = start(boss, types="A", delimiter=";", estimate="y")
        page = read(answer)
        assert (answer.status_code, "About 1 row, by counts" in page) == (200, True)
        assert page.value("delimiter") == ";"
        assert services.reports.visible(services.accounts.everyone()[0], 1) == []

    def test_errors_replace_the_estimate(self, boss):
        answer = start(boss, customer="", estimate="y")
        assert answer.status_code == 400
        assert read(answer).wrong("customer") == "Customer is missing."
        assert "by counts" not in read(answer)

    def test_the_preview_shows_the_columns_and_dropped_items(self, boss, services):
        product = {"code": "PORTFOLIO", "columns": ["userId"]}
        services.catalog.put(json.dumps({"products": [product]}).encode())
        page = boss.read("/admin/reports/new?customer=BARCHART&product=PORTFOLIO")
        assert announced_columns(page) == ["timestamp", "type", "userId", "extra"]
        assert "The catalog drops" not in page
        services.catalog.put(json.dumps({"products": [product | {"extra": "drop"}]}).encode())
        page = read(start(boss, estimate="y"))
        assert announced_columns(page) == ["timestamp", "type", "userId"]
        assert "The catalog drops context items that have no column: 2 rows are affected." in page

    def test_an_unknown_type_is_reported_beside_its_field(self, boss):
        for act in ({}, {"estimate": "y"}):
            answer = start(boss, types="A\nb", **act)
            assert answer.status_code == 400
            assert (
                read(answer)
                .wrong("types")
                .startswith('Event types, line 2, is "b", which is not known; the nearest known:')
            )

    def test_an_analyst_learns_nothing_about_others(self, anna):
        assert "About 0 rows" in anna.read("/admin/reports/new?customer=OTHER&product=PORTFOLIO")
