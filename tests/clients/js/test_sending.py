"""Batches, retries and verdicts of the service, from Node.js."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.clients.receiver import Answer, error


def test_an_event_has_what_was_recorded(run, service):
    run("""
        const tally = open({ key: "k-1", customer: "SHOP", product: "CART", version: "4.2.0" });
        tally.record("C", "P", "T", "Zürich 東京 😀", 1, true, null, undefined, "half \\ud800 and \\0");
        tally.record({ type: "T", context: ["b"], timestamp: new Date(5), version: "3" });
        tally.record({ customer: "C", type: "U" });
        await tally.flush();
    """)
    [request] = service.requests
    first, second, third = request.events
    assert first["context"] == ["Zürich 東京 😀", 1, True, None, None, "half \ufffd and \ufffd"]
    assert [first[name] for name in ("customer", "product", "type", "version")] == ["C", "P", "T", "4.2.0"]
    assert abs(first["timestamp"] / 1000 - time.time()) < 600
    assert second == {
        "customer": "SHOP", "product": "CART", "version": "3", "type": "T", "context": ["b"], "timestamp": 5,
    }  # fmt: skip
    assert (third["customer"], third["product"], third["type"], third["context"]) == ("C", "CART", "U", [])
    assert request.headers["Authorization"] == "Bearer k-1"
    assert request.headers["Prefer"] == "handling=lenient"
    assert 20 < len(request.key) < 60


def test_a_batch_is_limited_in_bytes_and_each_has_a_key_of_its_own(run, service):
    [stats] = run("""
        const tally = open({ batchBytes: 10_000 });
        for (let one = 0; one < 9; one++) tally.record("C", "P", "T", one, "ä".repeat(2000));
        print([await tally.flush(), tally.stats.sent]);
    """)
    assert stats == [True, 9]
    assert [len(request.events) for request in service.requests] == [2, 2, 2, 2, 1]
    assert len(service.stored) == 5
    assert service.contexts() == list(range(9))


def test_an_event_is_sent_after_batch_seconds_and_the_end_of_the_program_does_not_wait_for_that(run, service):
    [stats] = run("""
        const tally = open({ batchSeconds: 0.02 });
        number(tally, 1, 2);
        while (tally.stats.sent < 2) await new Promise((done) => setTimeout(done, 5));
        report(tally);
        number(open({ batchSeconds: 60 }), 3);
    """)
    assert stats["told"] == []
    assert [request.contexts for request in service.requests] == [[1, 2], [3]]


def test_a_failed_request_is_repeated_with_the_same_key_and_body(run, service):
    service.answers(Answer(None), Answer(500, b"oops"), error(503, "REQUEST_GENERAL_FAILURE"), Answer(200, b"<html>"))
    [stats] = run("""
        const tally = open();
        number(tally, 1, 2);
        while (!(await tally.flush())) tally.record("C", "P", "T", "later");
        report(tally);
    """)
    first, *others, last = service.requests
    assert {(request.key, request.body) for request in others} == {(first.key, first.body)}
    assert (len(others), last.contexts) == (4, ["later"] * 4)
    assert (stats["sent"], stats["failures"]) == (6, 0)
    assert [message[:20] for message, _ in stats["told"]][1] == "sending fails: 500 S"


def test_pauses_grow_to_a_minute_and_are_random_and_a_flush_does_not_wait_for_them(run, service, spool):
    service.script = lambda request: Answer(500)
    pauses = run("""
        const { readdirSync } = await import("node:fs");
        const tally = open({ spool });
        number(tally, 1);
        for (let failures = 0; failures < 12; ) {
            await tally.flush();
            const gate = readdirSync(spool).find((name) => name.startsWith("gate")).split(".");
            print([gate[1] - Date.now(), (failures = Number(gate[2])), gate[3]]);
        }
        process.exit();
    """)
    assert [failures for _, failures, _ in pauses] == sorted({failures for _, failures, _ in pauses})
    assert all(pause <= min(60_000, 500 * 2 ** (failures - 1)) + 2 for pause, failures, _ in pauses)
    assert max(pause for pause, _, _ in pauses) > 2000
    assert {why for _, _, why in pauses} == {""}
    assert len(service.requests) == 12


def test_retry_after_is_respected_even_by_a_flush_and_by_the_next_process(run, service, spool):
    service.answers(Answer(503, b"", {"Retry_After": "2"}))
    first = "const tally = open({ spool, batchSeconds: 0.01 }); number(tally, 1);"
    assert run(f"{first} print([await tally.flush(), await tally.flush()]); process.exit();") == [[False, False]]
    [waited] = run("""
        const tally = open({ spool, batchSeconds: 0.01 });
        number(tally, 2);
        print(await tally.flush());
        while (!tally.stats.sent) await new Promise((done) => setTimeout(done, 20));
    """)
    assert waited is False
    assert service.requests[1].at - service.requests[0].at >= 1.9
    assert service.requests[1].key == service.requests[0].key


@pytest.mark.parametrize("status", [400, 403, 415])
def test_what_the_service_refuses_for_good_is_reported_and_not_sent_again(run, service, status):
    service.answers(error(status, "REQUEST_INPUT_MALFORMED"))
    [done, stats] = run("const tally = open(); number(tally, 1); print(await tally.flush()); report(tally);")
    assert done is True
    assert (stats["rejected"], stats["sent"], len(service.requests)) == (1, 0, 1)
    [[message, [event]]] = stats["told"]
    assert message == "1 events rejected: Because."
    assert event["context"] == [1]


@pytest.mark.parametrize(
    "answer", [Answer(401, b'{"message": "Unauthorized"}'), error(404, "X"), Answer(403, b"proxy")]
)
def test_what_can_be_corrected_and_the_errors_of_a_proxy_keep_the_events(run, service, answer):
    service.answers(answer)
    [done, stats, again] = run("""
        const tally = open();
        number(tally, 1);
        print(await tally.flush());
        report(tally);
        print(await tally.flush());
    """)
    assert (done, again) == (False, True)
    assert stats["lastError"].startswith(str(answer.status))
    assert service.contexts() == [1]


@pytest.mark.parametrize("answer", [Answer(413, b"<html>"), error(400, "REQUEST_INPUT_MALFORMED")])
def test_a_batch_that_is_refused_for_one_event_is_halved_until_that_is_rejected(run, service, answer):
    service.script = lambda request: answer if 7 in request.contexts else None
    [stats] = run("const tally = open(); number(tally, ...Array(20).keys()); await tally.flush(); report(tally);")
    assert sorted(service.contexts()) == [number for number in range(20) if number != 7]
    assert (stats["sent"], stats["rejected"]) == (19, 1)
    assert len({request.key for request in service.requests}) == len(service.requests)


def test_a_batch_outside_the_scope_of_the_key_is_divided_by_customer_and_product(run, service):
    def forbid(request):
        customers = {event["customer"] for event in request.events}
        return error(403, "REQUEST_AUTHORIZATION_FAILURE") if "B" in customers else None

    service.script = forbid
    [stats] = run("""
        const tally = open();
        for (const customer of "ABACB") tally.record(customer, "P", "T", customer);
        await tally.flush();
        report(tally);
    """)
    assert sorted(service.contexts()) == ["A", "A", "C"]
    assert (stats["sent"], stats["rejected"], len(service.requests)) == (3, 2, 4)


def test_events_that_the_service_finds_invalid_are_reported_alone(run, service):
    answered = json.dumps([{"sequence": 1}, {"sequence": 3}]).encode()
    service.answers(Answer(200, answered, {"X_Rejected_Events": "1"}))
    [stats] = run("const tally = open(); number(tally, 1, 2, 3); await tally.flush(); report(tally);")
    assert (stats["sent"], stats["rejected"]) == (2, 1)
    [[message, [event]]] = stats["told"]
    assert (message, event["context"]) == ("1 events rejected: invalid", [2])


def test_an_event_without_json_is_rejected_and_record_does_not_raise(run, service):
    [stats] = run("""
        const tally = open({ onError: () => { throw new Error("of the program") } });
        console.error = (error) => print(error.message);
        number(tally, 1n, 2);
        await tally.flush();
    """)
    assert stats == "of the program"
    assert service.contexts() == [2]


def test_a_closed_client_has_sent_everything_and_counts_what_comes_later(run, service):
    [done, stats] = run("""
        const tally = open();
        number(tally, 1);
        print(await tally.close());
        number(tally, 2);
        report(tally);
    """)
    assert done is True
    assert (stats["recorded"], stats["sent"], stats["dropped"]) == (2, 1, 1)
    assert service.contexts() == [1]


def test_the_difference_to_the_clock_of_the_service_is_noted(run, service):
    [skew] = run("""
        const now = Date.now;
        Date.now = () => now() - 3600e3;
        const tally = open();
        number(tally, 1);
        await tally.flush();
        print(tally.stats.skew);
    """)
    assert abs(skew - 3600e3) < 30e3


def test_the_address_may_have_a_path(run, service):
    run('const tally = open({ url: url + "/tally/" }); number(tally, 1); await tally.flush();')
    assert service.contexts() == [1]


def test_a_wrong_address_is_refused_at_once(run, service):
    [message] = run('try { open({ url: "tally" }) } catch (error) { print(error.message) }')
    assert re.search("Invalid URL", message)
