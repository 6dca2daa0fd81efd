"""The fair queue: small reports come before huge ones, and users take turns."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from app.services.reports.fair_queue import GIVES_WAY_MS, SMALL_ROWS, in_turn

HUGE = SMALL_ROWS + 1


@dataclass
class QueuedReport:
    """A report that waits or runs."""

    id: int
    account: int
    started_at: int
    estimated_rows: int = 1
    heartbeat_at: int | None = None
    taken_at: int | None = None
    log: list[int] = field(default_factory=list)


@dataclass
class Simulation:
    """A simulation of workers that run queued reports for a fixed time each."""

    workers: int
    seconds: int = 5
    now: int = 0
    waiting: list[QueuedReport] = field(default_factory=list)
    running: list[tuple[int, QueuedReport]] = field(default_factory=list)
    served: dict[int, int] = field(default_factory=dict)
    order: list[QueuedReport] = field(default_factory=list)

    def accept(self, *reports: QueuedReport) -> None:
        self.waiting.extend(reports)
        self.assign()

    def assign(self) -> None:
        while self.waiting and len(self.running) < self.workers:
            counts = Counter(report.account for _, report in self.running)
            report = in_turn(self.waiting, counts, self.served, self.now)[0]
            self.waiting.remove(report)
            self.running.append((self.now + self.seconds * 1000, report))
            report.taken_at = self.now
            self.order.append(report)

    def finish_next(self) -> None:
        """Advance the time until the next worker is free."""
        self.now, report = min(self.running, key=lambda pair: (pair[0], pair[1].id))
        self.running = [pair for pair in self.running if pair[1] is not report]
        self.served[report.account] = self.now
        self.assign()


def test_the_reports_of_a_single_user_are_ordered_by_acceptance():
    waiting = [QueuedReport(number, 1, started_at=number) for number in range(5)]
    assert in_turn(waiting, {}, {}, 100) == waiting


def test_a_user_s_second_report_comes_after_the_first_report_of_every_other_user():
    first, second, third = QueuedReport(1, 1, 1), QueuedReport(2, 1, 2), QueuedReport(3, 2, 3)
    assert in_turn([first, second, third], {}, {}, 100) == [first, third, second]
    assert in_turn([second, third], {1: 1}, {}, 100) == [third, second]


def test_a_huge_report_yields_to_small_ones_for_a_limited_time():
    huge, small = QueuedReport(1, 1, 0, estimated_rows=HUGE), QueuedReport(2, 2, 1)
    assert in_turn([huge, small], {}, {}, GIVES_WAY_MS - 1) == [small, huge]
    assert in_turn([huge, small], {}, {}, GIVES_WAY_MS) == [huge, small]
    huge.heartbeat_at = GIVES_WAY_MS
    assert in_turn([huge, small], {}, {}, GIVES_WAY_MS + 1) == [small, huge]


def test_a_huge_report_that_yields_does_not_cost_its_user_a_turn():
    huge, small, other = QueuedReport(1, 1, 0, estimated_rows=HUGE), QueuedReport(2, 1, 1), QueuedReport(3, 2, 2)
    assert in_turn([huge, small, other], {}, {}, 100) == [small, other, huge]


@given(workers=st.integers(1, 4), before=st.integers(0, 30))
def test_a_user_with_a_hundred_reports_delays_another_by_at_most_one_turn(workers, before):
    simulation = Simulation(workers)
    simulation.accept(*[QueuedReport(number, 1, started_at=0) for number in range(100)])
    for _ in range(before):
        simulation.finish_next()
    simulation.now += 1
    single = QueuedReport(1000, 2, started_at=simulation.now)
    simulation.accept(single)
    simulation.finish_next()
    assert single.taken_at is not None, "the next worker that is free takes it"


@given(st.data(), st.integers(1, 3), st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_no_user_starves_while_others_keep_requesting_reports(data, workers, accounts):
    """Each user's oldest report runs before any other user has had more than two turns since it was accepted."""
    simulation = Simulation(workers)
    ids = itertools.count()
    everyone = []
    for account in accounts:
        report = QueuedReport(next(ids), account, started_at=simulation.now)
        report.log = len(simulation.order)
        everyone.append(report)
        simulation.accept(report)
        for _ in range(data.draw(st.integers(0, 2))):
            if simulation.running:
                simulation.finish_next()
    while simulation.running:
        simulation.finish_next()
    assert all(report.taken_at is not None for report in everyone)
    for report in everyone:
        until = simulation.order.index(report)
        own = [earlier for earlier in simulation.order[report.log : until] if earlier.account == report.account]
        others = Counter(
            earlier.account for earlier in simulation.order[report.log : until] if earlier.account != report.account
        )
        assert all(turns <= len(own) + 2 for turns in others.values()), (report, others)


def test_a_huge_report_runs_although_new_users_keep_requesting_small_ones():
    simulation = Simulation(workers=1)
    huge = QueuedReport(0, 0, started_at=0, estimated_rows=HUGE)
    simulation.waiting.append(huge)
    for number in itertools.count(1):
        simulation.accept(
            *[QueuedReport(2 * number + offset, 2 * number + offset, started_at=simulation.now) for offset in (0, 1)]
        )
        if huge.taken_at is not None:
            break
        simulation.finish_next()
    assert GIVES_WAY_MS <= huge.taken_at <= GIVES_WAY_MS + 4 * simulation.seconds * 1000
