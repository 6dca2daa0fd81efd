"""deploy/grafana/events.json: each query gets rows with the columns that it names from the service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.client import Client, event
from tests.support.running import ROOT

BOARD = json.loads((ROOT / "deploy" / "grafana" / "events.json").read_text())
DATABASE = "sqlite"  # the answers do not depend on it
DAY = 86_400_000
OF_TYPE = {"timestamp_epoch": int, "number": int, "string": str}


def queries() -> Iterator[tuple[str, dict]]:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["infinityQuery"]


@pytest.mark.parametrize(("title", "query"), list(queries()), ids=lambda value: value if isinstance(value, str) else "")
def test_each_query_is_answered_with_the_columns_that_it_names(sample_catalog, admin: Client, title, query):
    now = time.time_ns() // 1_000_000
    admin.send(*[event(timestamp=now - age * DAY // 3, type="PORTFOLIO-VIEW-CHANGED") for age in range(9)])
    address = query["url"]
    for name, value in {"__from": now - 7 * DAY, "__to": now, "product": "PORTFOLIO", "item": "userId"}.items():
        address = address.replace(f"${{{name}}}", str(value)).replace(f"${{{name}:percentencode}}", quote(str(value)))
    assert "$" not in address
    answer = admin.get(address)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    rows = answer.get_json()[query["root_selector"]]
    assert rows, title
    for column in query["columns"]:
        assert all(type(row[column["selector"]]) is OF_TYPE[column["type"]] for row in rows)
    if query["format"] == "timeseries":
        assert len({row["time"] for row in rows}) > 1
        assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def test_every_panel_is_of_the_chosen_data_source_and_has_a_place():
    assert all(panel["datasource"]["uid"] == "${source}" for panel in BOARD["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(places)) == len(places)
