"""The order in which workers take reports is fair: to small ones, and to users who asked for less than others."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from app.services.reports.fair_queue import GIVES_WAY_MS, SMALL_ROWS, in_turn

HUGE = SMALL_ROWS + 1


@dataclass
class One:
    """A report that waits, or is being written."""

    id: int
    account: int
    started: int
    estimated_rows: int = 1
    heartbeat_at: int | None = None
    taken: int | None = None
    log: list[int] = field(default_factory=list)


@dataclass
class World:
    """Workers that take reports by turns, each of which takes a while; time passes from one event to the next."""

    workers: int
    seconds: int = 5
    now: int = 0
    waiting: list[One] = field(default_factory=list)
    running: list[tuple[int, One]] = field(default_factory=list)
    served: dict[int, int] = field(default_factory=dict)
    order: list[One] = field(default_factory=list)

    def accept(self, *reports: One) -> None:
        self.waiting.extend(reports)
        self.take()

    def take(self) -> None:
        while self.waiting and len(self.running) < self.workers:
            counts = Counter(report.account for _, report in self.running)
            report = in_turn(self.waiting, counts, self.served, self.now)[0]
            self.waiting.remove(report)
            self.running.append((self.now + self.seconds * 1000, report))
            report.taken = self.now
            self.order.append(report)

    def end_one(self) -> None:
        """Let time pass until the next worker is free."""
        self.now, report = min(self.running, key=lambda pair: (pair[0], pair[1].id))
        self.running = [pair for pair in self.running if pair[1] is not report]
        self.served[report.account] = self.now
        self.take()


def test_who_waits_alone_is_taken_in_the_order_of_acceptance():
    waiting = [One(number, 1, started=number) for number in range(5)]
    assert in_turn(waiting, {}, {}, 100) == waiting


def test_a_user_s_second_report_stands_behind_the_first_one_of_each_other():
    first, second, third = One(1, 1, 1), One(2, 1, 2), One(3, 2, 3)
    assert in_turn([first, second, third], {}, {}, 100) == [first, third, second]
    assert in_turn([second, third], {1: 1}, {}, 100) == [third, second]


def test_a_huge_report_gives_way_to_small_ones_and_after_a_while_no_longer():
    huge, small = One(1, 1, 0, estimated_rows=HUGE), One(2, 2, 1)
    assert in_turn([huge, small], {}, {}, GIVES_WAY_MS - 1) == [small, huge]
    assert in_turn([huge, small], {}, {}, GIVES_WAY_MS) == [huge, small]
    huge.heartbeat_at = GIVES_WAY_MS
    assert in_turn([huge, small], {}, {}, GIVES_WAY_MS + 1) == [small, huge]


def test_a_huge_report_that_gives_way_costs_its_user_no_turn():
    huge, small, other = One(1, 1, 0, estimated_rows=HUGE), One(2, 1, 1), One(3, 2, 2)
    assert in_turn([huge, small, other], {}, {}, 100) == [small, other, huge]


@given(workers=st.integers(1, 4), before=st.integers(0, 30))
def test_a_user_with_a_hundred_reports_delays_another_s_by_no_more_than_one_turn(workers, before):
    world = World(workers)
    world.accept(*[One(number, 1, started=0) for number in range(100)])
    for _ in range(before):
        world.end_one()
    world.now += 1
    single = One(1000, 2, started=world.now)
    world.accept(single)
    world.end_one()
    assert single.taken is not None, "the next worker that is free takes it"


@given(st.data(), st.integers(1, 3), st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_nobody_starves_however_many_others_ask_for_more_all_the_time(data, workers, accounts):
    """Each user's oldest report is taken before any other user has had more than two turns since it was accepted."""
    world = World(workers)
    ids = itertools.count()
    everyone = []
    for account in accounts:
        report = One(next(ids), account, started=world.now)
        report.log = len(world.order)
        everyone.append(report)
        world.accept(report)
        for _ in range(data.draw(st.integers(0, 2))):
            if world.running:
                world.end_one()
    while world.running:
        world.end_one()
    assert all(report.taken is not None for report in everyone)
    for report in everyone:
        until = world.order.index(report)
        mine = [one for one in world.order[report.log : until] if one.account == report.account]
        others = Counter(one.account for one in world.order[report.log : until] if one.account != report.account)
        assert all(turns <= len(mine) + 2 for turns in others.values()), (report, others)


def test_a_huge_report_is_taken_although_small_ones_of_new_users_never_end():
    world = World(workers=1)
    huge = One(0, 0, started=0, estimated_rows=HUGE)
    world.waiting.append(huge)
    for number in itertools.count(1):
        world.accept(*[One(2 * number + more, 2 * number + more, started=world.now) for more in (0, 1)])
        if huge.taken is not None:
            break
        world.end_one()
    assert GIVES_WAY_MS <= huge.taken <= GIVES_WAY_MS + 4 * world.seconds * 1000
