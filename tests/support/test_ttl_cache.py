"""A kept value is made once in its time, whoever asks, and nobody waits for one that is being made anew."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.support import ttl_cache as module
from app.support.ttl_cache import TTLCache


def test_a_value_is_made_once_in_its_time():
    made, kept = [], TTLCache(60)
    assert [kept.get("a", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 1, 1]


def test_after_its_time_it_is_made_anew():
    made, kept = [], TTLCache(0)
    assert [kept.get("a", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 2, 3]


def test_each_key_has_its_own():
    kept = TTLCache(60)
    assert (kept.get("a", lambda: 1), kept.get("b", lambda: 2)) == (1, 2)


def test_several_who_ask_at_first_wait_for_the_one_who_makes_it():
    made, kept, together = [], TTLCache(60), threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait(10)
        return kept.get("a", lambda: made.append(1) or "it")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == ["it"] * 8
    assert len(made) == 1


def test_nobody_waits_for_a_value_that_is_made_anew():
    kept = TTLCache(0)
    kept.get("a", lambda: "old")
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(10)
        return "new"

    maker = threading.Thread(target=kept.get, args=("a", slow))
    maker.start()
    assert begun.wait(10)
    assert kept.get("a", lambda: "mine") == "old"
    go.set()
    maker.join(10)


def test_a_value_that_cannot_be_made_is_tried_again():
    kept = TTLCache(60)
    for _ in range(2):
        try:
            kept.get("a", lambda: 1 / 0)
        except ZeroDivisionError:
            continue
        raise AssertionError("it should have failed")
    assert kept.get("a", lambda: 5) == 5


def test_it_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    kept = TTLCache(60)
    for key in range(1_000):
        kept.get(key, lambda: 0)
    assert len(kept._values) <= 10
