"""Followers of events at a running service: many wait at once, and each goes on with its cursor after a restart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import requests

from tests.flows.conftest import ADMIN
from tests.flows.test_restarts import reload
from tests.support.client import event
from tests.support.pace import slack
from tests.support.running import Running, wait_until

pytestmark = pytest.mark.processes
WAITERS = 64  # the default of CHANGES_WAITERS
TIMEOUT_SECONDS = 120


@pytest.fixture
def service(shared_service) -> Running:
    return shared_service


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WAITERS + 1) as pool:
        yield pool


def ask(service: Running, **query: object) -> dict:
    answer = requests.get(f"{service.url}/events/changes", params=query, auth=ADMIN, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def send(service: Running, name: str) -> None:
    answer = requests.post(f"{service.url}/events", json=[event(context=[name])], timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200, answer.text


def wait(service: Running, pool: ThreadPoolExecutor, count: int, after: str) -> list[Future]:
    """Return as many requests that wait, of which none has been answered."""
    waiting = [pool.submit(ask, service, after=after, wait=60) for _ in range(count)]
    time.sleep(slack(0.5) + count * 0.02)
    assert not any(one.done() for one in waiting)
    return waiting


def names(pages: list[dict]) -> list[list[str]]:
    return [[one["context"][0] for one in page["events"]] for page in pages]


def test_64_requests_wait_beside_events_that_arrive_and_one_more_does_not_wait(service, pool):
    cursor = ask(service, after="now")["next"]
    waiting = wait(service, pool, WAITERS, cursor)

    def one_more_is_answered_at_once() -> bool:
        for place, one in enumerate(waiting):
            if one.done():  # it arrived while the one more waited in its place
                waiting[place] = pool.submit(ask, service, after=cursor, wait=60)
        asked = time.monotonic()
        assert ask(service, after=cursor, wait=5) == {"events": [], "next": cursor}
        return time.monotonic() - asked < 4

    wait_until(one_more_is_answered_at_once, 30)  # as soon as all others wait
    began = time.monotonic()
    send(service, "one")
    assert names([one.result() for one in waiting]) == [["one"]] * WAITERS
    assert time.monotonic() - began < slack(5)


def test_a_reload_ends_waits_at_once_with_an_answer(service, pool):
    cursor = ask(service, after="now")["next"]
    [waiting] = wait(service, pool, 1, cursor)
    old = service.pid("web-process")
    reload(service)
    assert waiting.result(timeout=slack(5)) == {"events": [], "next": cursor}
    wait_until(lambda: old not in service.left(), 30)
    send(service, "after the reload")
    assert names([ask(service, after=cursor)]) == [["after the reload"]]


@pytest.mark.soak
def test_a_follower_misses_nothing_if_the_web_process_is_killed(service, pool):
    """In `make test` the process is replaced by a reload, above."""
    cursor = ask(service, after="now")["next"]
    [waiting] = wait(service, pool, 1, cursor)
    os.kill(service.pid("web-process"), signal.SIGKILL)
    with pytest.raises(requests.ConnectionError):
        waiting.result(timeout=TIMEOUT_SECONDS)
    wait_until(service.answers, 60)
    send(service, "after the kill")
    assert names([ask(service, after=cursor, wait=10)]) == [["after the kill"]]
