"""Reports about several customers or products: the file of each format, and who may see them."""

from __future__ import annotations

import csv
import io
import json
import random

import pyarrow.parquet as pq
import pytest

from app.schemas.retention import ErasingSchema
from app.services.people import audit
from app.services.people.audit import AuditFilter
from app.services.people.principal import SYSTEM, Principal
from app.services.reports import part_writer
from tests.support.client import FIRST, Client, event, faults

pytestmark = pytest.mark.both_databases
PASSWORD = "correct horse"
CUSTOMERS, PRODUCTS = ["BARCHART", 'Zürich "AG"|'], ["PORTFOLIO", "TRADER, Pro"]
NAMES = {"PORTFOLIO-APPLICATION-LOADED": ["userId", "customer"]}
CATALOG = {
    "products": [{"code": "PORTFOLIO", "columns": ["customer", "userId"]}],
    "types": [{"code": code, "product": "PORTFOLIO", "context": names} for code, names in NAMES.items()],
}
ITEMS = ["", "a", 'say "so"', "é🐎", "two\nlines", "\\", None]


@pytest.fixture
def sent(nobody, services) -> list[dict]:
    """Events of two customers and two products and of another customer, as stored, in the order of a report."""
    services.catalog.put(json.dumps(CATALOG).encode())
    chance = random.Random(3)
    made = [
        event(
            customer=chance.choice([*CUSTOMERS, "OTHER"]),
            product=chance.choice(PRODUCTS),
            type=chance.choice([*NAMES, "UNLISTED"]),
            timestamp=FIRST + chance.randrange(30),
            context=chance.choices(ITEMS, k=chance.randrange(4)),
        )
        for _ in range(120)
    ]
    stored = nobody.send(*made)
    return sorted((one for one in stored if one["customer"] != "OTHER"), key=lambda one: one["timestamp"])


def several(**filter: object) -> dict[str, object]:
    return {"customer": None, "product": None, "customers": CUSTOMERS, "products": PRODUCTS} | filter


def run(client, output: dict[str, object], **filter: object) -> bytes:
    return client.run_report(output, **several(**filter))[1]


def rows_of(file: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.decode(), newline="")))


CSV = {"delimiter": ",", "header": True}


@pytest.mark.parametrize("delimiter", [",", "§"])
def test_a_csv_has_columns_that_tell_customers_and_products_apart(admin, sent, delimiter):
    file = run(admin, CSV | {"delimiter": delimiter, "layout": "positional"})
    head, *rows = csv.reader(io.StringIO(file.decode(), newline=""), delimiter=delimiter)
    assert head == ["timestamp", "type", "customer", "product", "context1", "context2", "context3"]
    assert rows == [
        [str(one["timestamp"]), one["type"], one["customer"], one["product"], *pad(one["context"], 3)] for one in sent
    ]


def without(row: dict, name: str) -> dict:
    return {key: value for key, value in row.items() if key != name}


def pad(context: list[str | None], width: int) -> list[str]:
    return [item or "" for item in context] + [""] * (width - len(context))


def test_the_columns_of_one_product_follow_the_customer(admin, sent):
    head, *rows = rows_of(run(admin, CSV, products=None, product="PORTFOLIO"))
    assert head == ["timestamp", "type", "customer", "customer_2", "userId", "extra"]
    of_product = [one for one in sent if one["product"] == "PORTFOLIO"]
    assert [row[2] for row in rows] == [one["customer"] for one in of_product]
    for row, one in zip(rows, of_product, strict=True):
        user, customer, *rest = [*one["context"], None, None] if one["type"] in NAMES else [None, None, *one["context"]]
        left = one["context"][2:] if one["type"] in NAMES else rest
        assert row[3:5] == [customer or "", user or ""]
        assert json.loads(row[5] or "[]") == left


def test_a_report_of_several_customers_is_the_same_from_parts(admin, sent, monkeypatch):
    whole = run(admin, CSV)
    monkeypatch.setattr(part_writer, "WHOLE_ROWS", 10)
    monkeypatch.setattr(part_writer, "PART_ROWS", 10)
    assert run(admin, CSV) == whole
    assert len(rows_of(whole)) == len(sent) + 1


def test_json_lines_and_parquet_have_the_events_of_all(admin, sent):
    lines = run(admin, {"format": "jsonl"}).splitlines()
    assert [without(json.loads(line), "received") for line in lines] == sent
    for output, product in (({}, None), ({"layout": "columns"}, "PORTFOLIO")):
        file = run(admin, {"format": "parquet"} | output, product=product, products=None if product else PRODUCTS)
        table = pq.read_table(io.BytesIO(file))
        of = [one for one in sent if product in (None, one["product"])]
        assert table.column("context").to_pylist() == [one["context"] for one in of]
        assert table.column("product").to_pylist() == [one["product"] for one in of]


def test_the_job_has_the_lists_after_the_keys_that_sdks_read(admin, sent):
    job = admin.start_report(**several(customer=None, start=FIRST, types=["UNLISTED"]))
    assert job["filter"] == {
        "customer": ", ".join(CUSTOMERS),
        "product": ", ".join(PRODUCTS),
        "types": ["UNLISTED"],
        "start": FIRST,
        "customers": CUSTOMERS,
        "products": PRODUCTS,
    }
    assert list(job["filter"])[:2] == ["customer", "product"]
    assert list(job["filter"])[-2:] == ["customers", "products"]


def test_a_list_of_one_code_is_that_code(admin, sent):
    job = admin.start_report(**several(customers=["BARCHART", "BARCHART"], products=["PORTFOLIO"]))
    assert job["filter"] == {"customer": "BARCHART", "product": "PORTFOLIO"}


@pytest.mark.parametrize(
    ("filter", "fault"),
    [
        ({"customers": CUSTOMERS}, "filter.product is missing"),
        (
            {"customer": "BARCHART", "customers": CUSTOMERS, "product": "PORTFOLIO"},
            "filter.customers is sent together with",
        ),
        ({"customers": [], "product": "PORTFOLIO"}, "filter.customers is empty; it must be an array of 1 to 100"),
        ({"customers": ["BARCHART", "BARCHRT"], "product": "PORTFOLIO"}, "filter.customers[1] is "),
        ({"customers": [str(n) for n in range(101)], "product": "PORTFOLIO"}, "filter.customers has 101 items"),
        ({"customer": "BARCHART", "products": [*PRODUCTS, "X"]}, "filter.products[2] is "),
    ],
)
def test_a_wrong_list_is_rejected_by_its_name(admin, sent, filter, fault):
    answer = admin.post("/reports", {"filter": filter})
    assert answer.status_code == 400
    assert any(message.startswith(fault) for _, message in faults(answer)), faults(answer)


def test_several_products_have_no_common_columns(admin, sent):
    answer = admin.post("/reports", {"filter": clean(several()), "output": {"layout": "columns"}})
    assert answer.status_code == 400
    assert faults(answer)[0][1].startswith('output.layout is "columns"; it must be "positional" for several products')


def clean(filter: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in filter.items() if value is not None}


def test_only_who_sees_all_customers_may_start_or_see_it(app, admin, services, sent):
    limits = {"anna": CUSTOMERS, "ben": ["BARCHART"], "trick": [", ".join(CUSTOMERS), "BARCHART"]}
    for name, customers in limits.items():
        services.accounts.add(name, "operator", customers, PASSWORD)
    anna, ben, trick = (Client(app, (name, PASSWORD)) for name in limits)
    job = admin.start_report(**several())
    assert ben.post("/reports", {"filter": clean(several())}).status_code == 403
    for client, status in ((anna, 200), (ben, 404), (trick, 404)):
        assert client.get(f"/reports/{job['source']}/availability").status_code == status
    mine = anna.start_report(**several())
    assert [one["source"] for one in anna.get("/reports").get_json()["reports"]] == [mine["source"]]


def test_an_erasure_of_one_customer_finds_the_file(admin, services, sent):
    job, _ = admin.run_report(CSV, **several())
    other, _ = admin.run_report(CSV, customer="OTHER")
    plan = services.retention.plan(ErasingSchema().check({"customer": CUSTOMERS[1]}))
    assert [f"JOB-{report.job}" for report in plan.reports] == [job["source"]]
    assert list(services.retention.erase(SYSTEM, plan, delete_files=True))
    assert admin.get(f"/reports/{other['source']}/availability").get_json()["status"] == "COMPLETE"
    assert admin.get(f"/reports/{job['source']}", headers={"Accept": "text/csv"}).status_code == 410


def test_who_may_see_no_customer_sees_no_report(services, admin, sent):
    """Single sign-on takes all customers of a user without a role."""
    admin.start_report(**several())
    admin.start_report(customer="OTHER")
    for customers, number in (((), 0), (("OTHER",), 1), (("OTHER", *CUSTOMERS), 2), (None, 2)):
        who = Principal(0, "x", "operator", customers, "")
        assert len(services.reports.visible(who, 9)) == services.reports.at_work(who) == number


def test_an_erasure_names_no_hidden_customer_in_the_audit_log_of_its_user(admin, services, sent):
    """It cancels and restarts every report with some of the events."""
    admin.send(event(customer=CUSTOMERS[0], product=PRODUCTS[0], context=["u-17"]))
    job = admin.start_report(**several())
    lea = Principal(services.accounts.named("admin").id, "admin", "admin", (CUSTOMERS[0],), "")
    receipt, _ = services.personal_data.erase(lea, {"value": "u-17"}, delete_files=True)
    assert receipt.reports.restarted == [job["source"]]
    own = [
        entry
        for entry in audit.page(lea, AuditFilter(), 99).entries
        if entry.action in ("report cancelled", "report retried")
    ]
    assert len(own) == 2
    assert not any(CUSTOMERS[1] in str(entry) for entry in own)
