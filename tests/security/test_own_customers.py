"""A user limited to some customers who follows every link finds nothing of any other customer."""

from __future__ import annotations

import html
import re
from collections import Counter, deque
from collections.abc import Iterator

import pytest

from app.store.events import hourly_counts
from tests.admin.conftest import Visitor
from tests.support.client import event

ADDRESS = re.compile(r'(?:href|data-live)="(/admin/[^"#]*)')
OF_A_PATH = 5  # addresses that differ only in their arguments
# What only the other customer has: code, product, type, context, report name, and user.
HIDDEN = ("HIDDEN-CUSTOMER", "HIDDEN-PRODUCT", "HIDDEN-TYPE", "hidden words", "hidden schedule", "hidden-user")


def pages(visitor: Visitor) -> Iterator[tuple[str, str]]:
    """Return the text of every page and part reachable from the overview, by address."""
    waiting, seen, number = deque(["/admin/"]), {"/admin/"}, Counter()
    while waiting:
        path = waiting.popleft()
        page = visitor.get(path).get_data(as_text=True)
        yield path, html.unescape(page)
        for found in map(html.unescape, ADDRESS.findall(page)):
            number[found.partition("?")[0]] += found not in seen
            if found not in seen and number[found.partition("?")[0]] <= OF_A_PATH:
                seen.add(found)
                waiting.append(found)


@pytest.fixture
def mixed(admin, services) -> None:
    """Events, reports, rejected events and a user of the analyst's customer and of another one."""
    hidden = {"customer": "HIDDEN-CUSTOMER", "product": "HIDDEN-PRODUCT", "type": "HIDDEN-TYPE"}
    admin.send(event(), event(context=["mine"]), event(**hidden, context=["hidden words"]))
    admin.post(
        "/events", [event(**hidden, timestamp=-1, context=["hidden words"])], headers={"Prefer": "handling=lenient"}
    )
    admin.run_report()
    admin.run_report(customer="HIDDEN-CUSTOMER", product="HIDDEN-PRODUCT")
    services.accounts.add("hidden-user", "analyst", ["HIDDEN-CUSTOMER"], "correct horse")
    asked = {"name": "hidden schedule", "recurrence": "daily", "hour": 6, "mode": "period"}
    boss = services.accounts.everyone()[0]
    services.schedules.add(boss, asked | {"filter": {"customer": "HIDDEN-CUSTOMER", "product": "HIDDEN-PRODUCT"}})
    hourly_counts.advance()


@pytest.mark.usefixtures("mixed")
def test_an_analyst_finds_nothing_of_another_customer(app, analyst):
    analyst.run_report()
    found = dict(pages(Visitor(app).sign_in("anna")))
    assert [(path, code) for path, text in found.items() for code in HIDDEN if code in text] == []
    paths = {path.partition("?")[0] for path in found}
    assert {"/admin/", "/admin/events", "/admin/reports", "/admin/reports/new", "/admin/catalog", "/admin/me"} <= paths
    assert sum("BARCHART" in text for text in found.values()) > 10


@pytest.mark.usefixtures("mixed")
def test_an_operator_finds_all_of_it(app, operator):
    found = "".join(text for _, text in pages(Visitor(app).sign_in("olga")))
    assert [code for code in HIDDEN[:-1] if code not in found] == []
