"""Five machines lose no event and no report, and do nothing twice, while each is cut off, killed and returns.

`make test` has it in parts: a lost machine is noticed (tests/machines/test_connections.py), one of two services behind
nginx ends (tests/flows/test_restarts.py), processes are killed (tests/faults), and in tests/services schedulers compete
(schedules/test_schedules.py), and workers share a report (reports/test_sharding.py) or fall silent
(reports/test_resuming.py).
"""

from __future__ import annotations

import itertools
import os
import time
from types import SimpleNamespace

import pytest
import redis
import requests

from app.store.schedules import schedules
from tests.faults.ledger import Ledger, Load
from tests.faults.reporting import ADMIN, OURS, OUTPUT, Analyst, fill
from tests.faults.test_reports_survive_s3 import is_clean
from tests.machines.conftest import PART_ROWS, Site
from tests.machines.network import Machine
from tests.support import rows
from tests.support.client import FIRST
from tests.support.pace import SOAK, times
from tests.support.running import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.soak]

ROWS = int(os.environ.get("MACHINES_ROWS", times(9 * PART_ROWS, 20_000_000)))
CUT_SECONDS = times(1, 30)
PAUSE_SECONDS = 0.0 if SOAK else 0.15  # of a client between two batches
ANSWER_SECONDS = 150  # nginx waits for a minute for a machine that is away, then for the next one
AGAIN_SECONDS = 120
ROUNDS = times(1, 5)


@pytest.fixture(scope="module")
def analyst(site) -> Analyst:
    service = SimpleNamespace(running=SimpleNamespace(url=site.url), postgres=site.postgres)
    fill(service, ROWS)
    return Analyst(service, lambda _: is_clean(site.s3, site.query("SELECT count(file) FROM report")[0][0]))


def start(analyst: Analyst, count: int) -> dict:
    """Start a report of the first events without those of the ledger.

    It is compressed, because moto takes a minute to join the parts of a file of 800 MB.
    """
    output = OUTPUT | {"compression": "zstd"}
    wanted = {"filter": OURS | {"types": [rows.TYPE], "end": FIRST + count}, "output": output}
    answer = requests.post(f"{analyst.service.running.url}/reports", json=wanted, auth=ADMIN, timeout=ANSWER_SECONDS)
    assert answer.status_code == 200, answer.text
    return analyst.promised(answer.json(), count)


def test_events_are_stored_once_while_web_machines_are_cut_off_killed_and_return(site: Site):
    ledger = Ledger()
    for cut, killed in itertools.islice(itertools.cycle([site.web, site.web[::-1]]), ROUNDS):
        with Load(site.port, ledger, pause=PAUSE_SECONDS, patience=ANSWER_SECONDS) as load:
            load.until_acknowledged(20)
            cut.cut_off()
            with Load(
                site.port, ledger, pause=PAUSE_SECONDS, patience=ANSWER_SECONDS
            ) as others:  # the first may all wait for the machine
                others.until_acknowledged(20, AGAIN_SECONDS)
                time.sleep(CUT_SECONDS)
                cut.reconnect()
            load.until_acknowledged(20, AGAIN_SECONDS)
            killed.kill()
            load.until_acknowledged(20, AGAIN_SECONDS)
            site.start(killed)
            site.until_all_serve()
            load.until_acknowledged(20, AGAIN_SECONDS)
    ledger.balance(item for (item,) in site.query("SELECT context[1] FROM event WHERE type = 'T'")).check()
    wait_until(lambda: _counted(site) == site.query("SELECT count(*) FROM event"), AGAIN_SECONDS)


def test_only_one_scheduler_starts_a_recurring_report(site: Site, analyst: Analyst):
    with site.opened():
        ours = {"customer": "BARCHART", "product": "PORTFOLIO", "types": None, "output": None}
        ours |= {
            "owner": 0,
            "owner_name": "command",
            "recurrence": "daily",
            "hour": 0,
            "mode": "period",
            "created_at": 0,
        }
        added = [schedules.add(name=f"every day {number}", next_run_at=None, **ours) for number in range(5)]
        query = "SELECT schedule, count(*) FROM report WHERE schedule > 0 GROUP BY schedule ORDER BY schedule"
        for number in range(1, 1 + times(2, 20)):
            for one in added:
                assert schedules.change(one.id, next_run_at=FIRST)
            started = [(one.id, number) for one in added]
            wait_until(lambda wanted=started: site.query(query) >= wanted, AGAIN_SECONDS)
            wait_until(
                lambda: not any(one.claim or one.next_run_at == FIRST for one in schedules.every()), AGAIN_SECONDS
            )
            assert site.query(query) == started


IN_TRANSACTION = """
import time
from app.store import database as store
store.open_database({url!r})
store.database.begin_group()
print("in a transaction", flush=True)
time.sleep(600)
"""


def test_a_machine_that_loses_power_in_a_transaction_does_not_keep_reports_from_starting(site: Site, analyst: Analyst):
    lost = site.network.machine()
    lost.run("web", site.settings, code=IN_TRANSACTION.format(url=site.postgres.url))
    wait_until(lambda: "in a transaction" in lost.said("web"), 60)
    lost.cut_off()
    began = time.monotonic()

    def starts() -> bool:
        wanted = {"filter": OURS | {"types": [rows.TYPE], "end": FIRST + 1}, "output": OUTPUT}
        return requests.post(f"{site.url}/reports", json=wanted, auth=ADMIN, timeout=30).status_code == 200

    wait_until(starts, 60)
    print(f"A report started {time.monotonic() - began:.0f} s after the loss.")


def test_a_report_is_written_on_all_machines_and_is_right_although_two_are_lost(site: Site, analyst: Analyst):
    killed = None
    for count in (ROWS, *[ROWS // 2] * (ROUNDS - 1)):
        if killed:
            site.start(killed)
        wait_until(lambda: all(_has_worker(site, machine) for machine in site.workers), AGAIN_SECONDS)
        job = start(analyst, count)
        began = time.monotonic()
        wait_until(lambda job=job: _writers(site, job) == set(site.workers), AGAIN_SECONDS)
        holder = _holder(site, job)
        killed = next(machine for machine in site.workers if machine is not holder)
        holder.cut_off()
        killed.kill()
        analyst.check(times(60, 1800))
        print(f"{count:,} rows were complete and right after {time.monotonic() - began:.0f} s.")
        assert analyst.attempt(job) > 1
        holder.reconnect()


def _counted(site: Site) -> list[tuple]:
    return site.query("SELECT sum(number)::bigint FROM hourly_count")


def _writers(site: Site, job: dict) -> set[Machine]:
    """Return the machines whose workers have written parts of a report."""
    found = site.query(f"SELECT DISTINCT worker FROM report_part WHERE job = '{job['job']}' AND done")
    return {_machine_of(site, worker) for (worker,) in found}


def _holder(site: Site, job: dict) -> Machine:
    """Return the machine whose worker holds a report."""
    [(worker,)] = site.query(f"SELECT worker FROM report WHERE job = '{job['job']}'")
    return _machine_of(site, worker)


def _has_worker(site: Site, machine: Machine) -> bool:
    """Return whether a worker of a machine has registered."""
    with redis.Redis.from_url(site.redis_url) as connection:
        pids = [connection.hget(key, "pid") for key in connection.smembers("rq:workers")]
    return bool(set(map(int, filter(None, pids))) & set(machine.processes()))


def _machine_of(site: Site, worker: str) -> Machine:
    with redis.Redis.from_url(site.redis_url) as connection:
        pid = int(connection.hget(f"rq:worker:{worker}", "pid"))
    return next(machine for machine in site.workers if pid in machine.processes())
