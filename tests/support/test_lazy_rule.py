"""Rules that compile the functions which build their URLs when the first one is built."""

from __future__ import annotations

import pytest
from werkzeug.routing import BuildError, Map, MapAdapter, Rule

from app.ops.lazy_rule import LazyRule

RULES = [("/", "root", {}), ("/a/<int:key>/<self>", "thing", {}), ("/b/<word>", "first", {"word": "one"})]
ASKED = [
    ("root", {}),
    ("root", {"q": "ü &", "self": "x"}),
    ("thing", {"key": 7, "self": "x/ü"}),
    ("thing", {"key": 7, "self": "x", "page": 2}),
    ("first", {}),
    ("first", {"word": "two"}),
]


def made(kind: type[Rule]) -> MapAdapter:
    rules = [kind(path, endpoint=endpoint, defaults=defaults) for path, endpoint, defaults in RULES]
    return Map(rules).bind("host")


def url(urls: MapAdapter, endpoint: str, values: dict, append_unknown: bool) -> str | None:
    try:
        return urls.build(endpoint, values, append_unknown=append_unknown)
    except BuildError:
        return None


@pytest.mark.parametrize("append_unknown", [True, False])
@pytest.mark.parametrize(("endpoint", "values"), ASKED)
def test_a_url_is_that_of_werkzeugs_own_rule_each_time(endpoint, values, append_unknown):
    lazy, asked = made(LazyRule), (endpoint, values, append_unknown)
    assert [url(lazy, *asked), url(lazy, *asked)] == [url(made(Rule), *asked)] * 2


def test_a_function_is_compiled_once_and_not_before_a_url_is_built(monkeypatch):
    compiled, compile_builder = [], Rule._compile_builder
    monkeypatch.setattr(Rule, "_compile_builder", lambda *given: compiled.append(given[0]) or compile_builder(*given))
    urls = made(LazyRule)
    assert urls.match("/a/1/x") == ("thing", {"key": 1, "self": "x"})
    assert compiled == []
    assert [urls.build("thing", {"key": key, "self": "x"}) for key in (1, 2)] == ["/a/1/x", "/a/2/x"]
    assert [rule.endpoint for rule in compiled] == ["thing"]
