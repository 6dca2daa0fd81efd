"""Events on the disk of a program of Node.js: what survives, who sends it, and what is dropped."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter

from tests.clients.receiver import Answer
from tests.support.pace import slack, times

KILLED = -signal.SIGKILL


def test_what_was_recorded_survives_kill_9_and_the_next_process_sends_it(run, service, spool):
    run('number(open({ spool }), 1, 2); process.kill(process.pid, "SIGKILL");', ends=KILLED)
    run("await open({ spool }).flush();")
    assert service.requests == []  # the process may still run
    [stats] = run("later(); const tally = open({ spool }); await tally.flush(); report(tally);")
    assert service.contexts() == [1, 2]
    assert (stats["recorded"], stats["sent"]) == (0, 2)
    assert [path.name for path in spool.iterdir()] == ["gate.0.0."]


def test_a_batch_whose_answer_was_lost_is_sent_again_by_the_next_process(run, service, spool):
    service.answers(Answer(None))
    run("const tally = open({ spool }); number(tally, 1); await tally.flush(); process.exit();")
    run("await open({ spool }).flush();")
    first, second = service.requests
    assert (first.key, first.body) == (second.key, second.body)


def test_a_process_that_is_killed_while_it_sends_blocks_nobody(run, service, spool):
    service.script = lambda request: Answer(200) if len(service.requests) == 2 else Answer(500)
    run(
        """
        const tally = open({ spool });
        number(tally, 1);
        globalThis.fetch = () => process.kill(process.pid, "SIGKILL");
        await tally.flush();
        await new Promise((done) => setTimeout(done, 60e3));
        """,
        ends=KILLED,
    )
    assert any(path.name.startswith("gate.1") for path in spool.iterdir())  # it has the lease
    service.script = lambda request: None
    assert run("print(await open({ spool }).flush());") == [True]
    assert service.contexts() == [1]


def test_processes_that_are_killed_and_share_a_folder_store_each_event_once(start, run, service, spool):
    """Each program says what it has recorded. An event that it was recording when it was killed may be stored, too."""
    service.script = lambda request: random.choice([None, None, Answer(None), Answer(503)])  # noqa: S311
    recorded: list[str] = []
    for attempt in range(times(2, 20)):
        programs = [
            start(
                f"""
                const tally = open({{ spool, batchSeconds: 0.01, batchBytes: 2000 }});
                for (let one = 0; ; one++) {{
                    tally.record("C", "P", "T", "{attempt}-{name}-" + one);
                    print("{attempt}-{name}-" + one);
                    if (one % 10 == 0) await new Promise((done) => setTimeout(done, 2));
                }}
                """
            )
            for name in "abc"
        ]
        for program in programs:
            lines = [program.stdout.readline() for _ in range(200)]
            program.kill()
            lines += program.stdout.read().splitlines(keepends=True)
            program.communicate(timeout=slack(30))
            recorded += [json.loads(line) for line in lines if line.endswith("\n")]
    service.script = lambda request: None
    assert run("later(); const tally = open({ spool }); print(await tally.flush());") == [True]
    stored = Counter(service.contexts())
    assert max(stored.values()) == 1
    assert set(recorded) <= {*stored}
    assert len(stored) - len(set(recorded)) <= 3 * times(2, 20)


def test_a_process_that_is_slow_loses_nothing_when_another_one_takes_its_batch(run, service, spool):
    run("""
        const slow = open({ spool });
        number(slow, 1);
        const { readdirSync, utimesSync } = await import("node:fs");
        const [name] = readdirSync(spool).filter((name) => name.endsWith("~"));
        utimesSync(`${spool}/${name}`, 1, 1); // it seems to have ended
        const now = Date.now;
        Date.now = () => now() + 20e3;
        const other = open({ spool });
        await other.flush();
        number(slow, 2);
        await slow.flush();
    """)
    assert service.contexts() == [1, 2]


def test_a_record_that_was_cut_off_is_left_out(run, service, spool):
    run('number(open({ spool }), 1, 2); process.kill(process.pid, "SIGKILL");', ends=KILLED)
    [file] = spool.glob("*~")
    file.write_bytes(file.read_bytes()[:-5] + b'\n{"customer": "C"')
    run("later(); await open({ spool }).flush();")
    assert service.contexts() == [1]


def test_beyond_max_bytes_the_oldest_events_are_dropped_and_counted(run, service, spool):
    service.script = lambda request: Answer(503)
    [stats] = run("""
        const tally = open({ spool, batchBytes: 1000, maxBytes: 3000, onError: (...one) => told.push(one) });
        number(tally, ...Array(100).keys());
        await tally.flush();
        report(tally);
        process.exit();
    """)
    service.script = lambda request: None
    run("later(); await open({ spool }).flush();")
    kept = service.contexts()
    assert kept == list(range(stats["dropped"], 100))
    assert 0 < len(kept) < 45
    dropped = [event["context"][0] for message, events in stats["told"] for event in events if "dropped" in message]
    assert dropped == list(range(stats["dropped"]))


def test_a_full_disk_drops_the_oldest_and_another_fault_keeps_events_in_memory(run, service, spool):
    [full, broken] = run("""
        const fs = (await import("node:fs")).default;
        const { appendFileSync, renameSync } = fs;
        const fail = (code) => () => { throw Object.assign(new Error(code), { code }) };
        const tally = open({ spool, batchBytes: 200 });
        number(tally, 1, 2, 3);
        fs.appendFileSync = fail("ENOSPC");
        fs.renameSync = (from, to) => fs.readdirSync(spool).length > 2 ? fail("ENOSPC")() : renameSync(from, to);
        number(tally, 4);
        fs.renameSync = renameSync;
        later();
        await tally.flush();
        report(tally);
        fs.writeFileSync = fail("EIO");
        const other = open({ spool });
        number(other, 5);
        await other.flush();
        report(other);
    """)
    assert full["dropped"] >= 1
    assert full["dropped"] + full["sent"] == 4
    assert broken["sent"] == 1
    assert service.contexts()[-2:] == [4, 5]


def test_a_full_disk_leaves_no_parts_and_a_flush_sends_what_it_holds(run, service, spool):
    [stats] = run("""
        const fs = (await import("node:fs")).default;
        const { writeFileSync } = fs;
        const fail = () => { throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" }) };
        const tally = open({ spool, batchBytes: 150 });
        number(tally, 1, 2, 3, 4);
        let full = 2;
        fs.writeFileSync = (path, text) => {
            writeFileSync(path, text.slice(0, full > 0 ? 9 : text.length));
            if (full-- > 0) fail();
        };
        number(tally, 5, 6);
        fs.appendFileSync = fail;
        await tally.flush();
        report(tally);
    """)
    assert stats["dropped"] == 2
    assert service.contexts() == [3, 4, 5, 6]
    assert [path.name for path in spool.iterdir()] == ["gate.0.0."]


def test_the_folder_is_private(run, spool):
    run("open({ spool });")
    assert spool.stat().st_mode & 0o777 == 0o700
