"""A cached value is created once per lifetime by concurrent callers, and nobody waits while it is refreshed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.support import ttl_cache as module
from app.support.ttl_cache import TTLCache


def test_a_value_is_created_once_in_its_lifetime():
    made, cache = [], TTLCache(60)
    assert [cache.get("a", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 1, 1]


def test_an_expired_value_is_created_again():
    made, cache = [], TTLCache(0)
    assert [cache.get("a", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 2, 3]


def test_each_key_has_its_own():
    cache = TTLCache(60)
    assert (cache.get("a", lambda: 1), cache.get("b", lambda: 2)) == (1, 2)


def test_concurrent_first_callers_wait_for_the_one_that_creates_the_value():
    made, cache, together = [], TTLCache(60), threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait(10)
        return cache.get("a", lambda: made.append(1) or "it")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == ["it"] * 8
    assert len(made) == 1


def test_nobody_waits_while_a_value_is_refreshed():
    cache = TTLCache(0)
    cache.get("a", lambda: "old")
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(10)
        return "new"

    maker = threading.Thread(target=cache.get, args=("a", slow))
    maker.start()
    assert begun.wait(10)
    assert cache.get("a", lambda: "mine") == "old"
    go.set()
    maker.join(10)


def test_a_value_whose_creation_failed_is_tried_again():
    cache = TTLCache(60)
    for _ in range(2):
        try:
            cache.get("a", lambda: 1 / 0)
        except ZeroDivisionError:
            continue
        raise AssertionError("it should have failed")
    assert cache.get("a", lambda: 5) == 5


def test_it_does_not_grow_without_limit(monkeypatch):
    monkeypatch.setattr(module, "MAX_VALUES", 10)
    cache = TTLCache(60)
    for key in range(1_000):
        cache.get(key, lambda: 0)
    assert len(cache._values) <= 10
