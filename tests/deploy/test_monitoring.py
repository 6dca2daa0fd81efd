"""deploy/prometheus and deploy/grafana: each query is valid, and asks for metrics and labels that /metrics has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import finish_database_threads
from tests.support.client import Client, event
from tests.support.markdown import anchors
from tests.support.running import ROOT

RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "tally.json").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = DASHBOARD["panels"]
ADDED = {"instance", "job"}  # labels that Prometheus adds to whatever it scrapes
PERIOD = re.compile(r"\d+(s|m|h)")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The names of metrics do not depend on the database."""
    return sqlite_url


@pytest.fixture
def metrics(admin: Client, services) -> dict[str, dict[str, set[str]]]:
    """The labels, and their values, of each metric of a service that accepted an event and rejected one."""
    admin.send(event())
    assert admin.post("/events", {"events": [event(timestamp="now")]}).status_code == 400
    finish_database_threads()
    services.scheduler.run_all()
    services.request_metrics.flush()
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(admin.get("/metrics").get_data(as_text=True)):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with the title of its alert or panel, Grafana's own interval filled in."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def nodes(query: str) -> list[promql_parser.Expr]:
    """Return the parts of a query. A query that Prometheus would not parse raises ValueError."""
    found: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(query), lambda node: found.append(node))
    return found


def test_each_query_asks_for_a_metric_and_for_labels_that_it_has(metrics):
    for title, query in queries():
        selectors = [node for node in nodes(query) if isinstance(node, promql_parser.VectorSelector)]
        assert selectors, title
        for selector in selectors:
            assert selector.name in metrics, f"{title}: no metric {selector.name}"
            for matcher in selector.matchers.matchers:
                values = metrics[selector.name][matcher.name]
                is_exact = matcher.op == promql_parser.MatchOp.Equal
                assert values, title
                assert not is_exact or matcher.value in values, f"{title}: {matcher.name} is never {matcher.value}"
        had = set().union(*(metrics[selector.name] for selector in selectors)) | ADDED
        for node in nodes(query):
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
                assert set(node.modifier.labels) <= had, f"{title}: {node.modifier.labels}"


def test_every_metric_of_the_service_is_shown(metrics):
    asked = {node.name for _, query in queries() for node in nodes(query) if hasattr(node, "matchers")}
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in metrics} <= shown


def test_a_query_with_a_fault_is_noticed():
    with pytest.raises(ValueError, match="parenthesis"):
        nodes("sum by (rate(tally_up[5m])")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_happened_and_where_the_cure_is(alert):
    assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}
    assert PERIOD.fullmatch(alert.get("for", "1m"))
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"].endswith(".")
    page, _, heading = alert["annotations"]["runbook_url"].partition("#")
    assert page in {"docs/operations.md", "docs/monitoring.md"}
    assert heading in anchors(ROOT / page)


def test_the_rules_file_has_the_shape_that_prometheus_reads():
    assert set(RULES) == {"groups"}
    assert all(set(group) == {"name", "rules"} for group in RULES["groups"])
    names = [alert["alert"] for alert in ALERTS]
    assert len(names) == len(set(names))


def test_the_dashboard_has_the_shape_that_grafana_imports():
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(DASHBOARD)
    [source] = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("source", "datasource", "prometheus")
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_two_panels_cover_the_same_place():
    places = [
        (x, y)
        for panel in PANELS
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def test_the_page_on_monitoring_names_both_files():
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert "deploy/prometheus/rules.yaml" in page
    assert "deploy/grafana/tally.json" in page
    assert all(Path(ROOT / name).is_file() for name in ("deploy/prometheus/rules.yaml", "deploy/grafana/tally.json"))
