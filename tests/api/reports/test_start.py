"""`POST /reports`: what is accepted, the job that is answered, and what is refused in which words."""

from __future__ import annotations

import json
import re
import time
import uuid

import pytest

from app.store.events import hourly_counts
from app.store.models import ObservedCode
from tests.support.client import FIRST, event, faults, root
from tests.support.pace import slack

MALFORMED = "REQUEST_PARAMETER_MALFORMED"
MISSING = "REQUEST_PARAMETER_MISSING"
LAST = 253_402_300_799_999
FILTER = {"customer": "BARCHART", "product": "PORTFOLIO"}


@pytest.fixture
def seen(nobody) -> None:
    """Some event, so that its customer and product are known."""
    nobody.send(event())


@pytest.fixture
def admin(admin, seen):
    return admin


def post(client, filter: object, output: object = ...):
    return client.post("/reports", {"filter": filter} | ({} if output is ... else {"output": output}))


class TestJob:
    def test_it_is_answered_byte_for_byte_without_what_was_not_sent(self, admin):
        answer = post(admin, FILTER)
        assert answer.status_code == 200
        job = answer.get_json()
        assert answer.get_data(as_text=True) == (
            f'{{"job":"{job["job"]}","source":"JOB-{job["job"]}","status":"RUNNING",'
            '"filter":{"customer":"BARCHART","product":"PORTFOLIO"},'
            f'"timing":{{"day":"{job["timing"]["day"]}","start":{job["timing"]["start"]}}}}}'
        )

    def test_it_is_answered_byte_for_byte_with_all_that_was_sent(self, nobody, admin, sample_catalog):
        nobody.send(event(type="A"), event(type="B"))
        body = (
            '{"output":{"spreadsheetSafe":false,"compression":"none","header":true,"layout":"positional","format":"csv",'
            '"delimiter":"\\u00a6"},"filter":{"end":"1568381886061","start":1568381886060.0,"types":["B","A"],'
            '"product":"PORTFOLIO","customer":"BARCHART"}}'
        )
        answer = admin.post("/reports", body.encode())
        assert answer.status_code == 200
        job = answer.get_json()
        assert answer.get_data(as_text=True) == (
            f'{{"job":"{job["job"]}","source":"JOB-{job["job"]}","status":"RUNNING",'
            '"filter":{"customer":"BARCHART","product":"PORTFOLIO","types":["B","A"],'
            '"start":1568381886060,"end":1568381886061},'
            f'"timing":{{"day":"{job["timing"]["day"]}","start":{job["timing"]["start"]}}},'
            '"output":{"delimiter":"¦","format":"csv","layout":"positional","header":true,"compression":"none",'
            '"spreadsheetSafe":false}}'
        )

    def test_its_availability_is_the_same_job(self, admin):
        started = post(admin, FILTER | {"types": []}, {"header": False})
        source = started.get_json()["source"]
        assert admin.get(f"/reports/{source}/availability").get_data() == started.get_data()

    def test_its_name_and_times(self, admin):
        before = time.time_ns() // 1_000_000
        job = post(admin, FILTER).get_json()
        assert str(uuid.UUID(job["job"])) == job["job"]
        assert job["source"] == f"JOB-{job['job']}"
        assert before <= job["timing"]["start"] <= time.time_ns() // 1_000_000
        assert job["timing"]["day"] == time.strftime("%Y-%m-%d", time.gmtime(job["timing"]["start"] / 1000))

    def test_a_finished_one_has_its_end_in_its_timing(self, admin):
        job, _ = admin.run_report()
        assert list(job) == ["job", "source", "status", "filter", "timing"]
        assert list(job["timing"]) == ["day", "start", "end"]
        assert job["timing"]["end"] >= job["timing"]["start"]

    def test_types_are_echoed_as_sent(self, nobody, admin):
        nobody.send(*[event(type=code) for code in ("A", *(f"T{number}" for number in range(1000)))])
        for types in [[], ["A"], ["A", "A"], [f"T{number}" for number in range(1000)]]:
            assert post(admin, FILTER | {"types": types}).get_json()["filter"]["types"] == types

    def test_an_empty_output_is_echoed_empty(self, admin):
        assert post(admin, FILTER, {}).get_json()["output"] == {}

    def test_keys_that_nobody_asked_for_are_ignored_and_not_echoed(self, admin):
        body = {"filter": FILTER | {"user": "x"}, "output": {"colour": "blue"}, "priority": 1}
        job = admin.post("/reports", body).get_json()
        assert job["filter"] == FILTER
        assert job["output"] == {}
        assert list(job) == ["job", "source", "status", "filter", "timing", "output"]

    def test_a_time_is_a_number_or_a_string_of_digits_and_echoed_as_an_integer(self, admin):
        for sent in [0, "0", "007", 5.0, "1568381886060", 1568381886060, LAST, str(LAST), float(FIRST)]:
            for field in ("start", "end"):
                assert post(admin, FILTER | {field: sent}).get_json()["filter"][field] == int(sent)

    def test_start_and_end_may_be_the_same(self, admin):
        assert post(admin, FILTER | {"start": FIRST, "end": str(FIRST)}).status_code == 200


class TestFilter:
    def test_any_other_time_is_malformed(self, admin):
        for sent in [-1, 1.5, LAST + 1, "", " 5", "5.0", "-5", "1e3", "x", "٥", True, None, [5], "9" * 30]:
            answer = post(admin, FILTER | {"start": sent})
            assert answer.status_code == 400
            [(code, message)] = faults(answer)
            assert code == MALFORMED
            assert message.startswith("filter.start is ")
            assert message.endswith(
                f"it must be a whole number of milliseconds from 0 to {LAST}, or a string of its digits."
            )

    def test_an_end_before_the_start_is_malformed(self, admin):
        answer = post(admin, FILTER | {"start": FIRST, "end": FIRST - 1})
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert faults(answer) == [
            (MALFORMED, f"filter.end is {FIRST - 1}, before start, {FIRST}; it must be start or later.")
        ]

    def test_customer_and_product_are_required(self, admin):
        for field in ["customer", "product"]:
            answer = post(admin, {key: value for key, value in FILTER.items() if key != field})
            [(code, message)] = faults(answer)
            assert code == MISSING
            assert message.startswith(f"filter.{field} is missing; it must be ")

    def test_they_are_codes(self, admin):
        for sent in ["", "x" * 129, 5, None, [], "a\nb"]:
            for field in ("customer", "product"):
                [(code, message)] = faults(post(admin, FILTER | {field: sent}))
                assert code == MALFORMED
                assert message.startswith(f"filter.{field} ")

    def test_types_are_a_list_of_codes(self, admin):
        for sent in ["A", 5, {}, None, [5], [""], [None], [["A"]], ["A"] * 1001]:
            answer = post(admin, FILTER | {"types": sent})
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
            assert faults(answer)[0][1].startswith("filter.types")

    @pytest.mark.parametrize(("field", "near"), [("customer", "BARCHART"), ("product", "PORTFOLIO")])
    def test_an_unknown_one_is_malformed_and_the_nearest_known_are_named(self, admin, field, near):
        answer = post(admin, FILTER | {field: near[:-1]})
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert faults(answer) == [
            (MALFORMED, f'filter.{field} is "{near[:-1]}", which is not known; the nearest known: {near}.')
        ]

    @pytest.mark.parametrize("sent", ["portfolio-application-loaded", "PORTFOLIO-APPLICATION-LODED", "Application"])
    def test_an_unknown_type_is_malformed_and_the_nearest_known_are_named(self, admin, sent):
        near = "PORTFOLIO-APPLICATION-LOADED"
        answer = post(admin, FILTER | {"types": [near, sent]})
        told = f'types[1] is "{sent}", which is not known; the nearest known: {near}.'
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert faults(answer) == [(MALFORMED, f"filter.{told}")]
        answer = admin.get("/events", query_string={"types": [near, sent]})
        assert (answer.status_code, faults(answer)) == (400, [(MALFORMED, told)])

    def test_the_nearest_are_found_without_regard_to_case(self, admin):
        for field in ("customer", "product"):
            sent = FILTER[field].lower()
            [(_, message)] = faults(post(admin, FILTER | {field: sent}))
            assert message.endswith(f"the nearest known: {FILTER[field]}.")
            [(_, message)] = faults(admin.get("/events", query_string={field: sent}))
            assert message == f'{field} is "{sent}", which is not known; the nearest known: {FILTER[field]}.'

    def test_what_only_the_events_know_is_known(self, admin, services):
        """Sightings can be lost, so the events have the last word: counted by the hour, or not yet."""
        types = {"types": ["PORTFOLIO-APPLICATION-LOADED"]}
        ObservedCode.delete().execute()
        assert post(admin, FILTER | types).status_code == 200
        while hourly_counts.advance():
            pass
        assert post(admin, FILTER | types).status_code == 200
        assert admin.get("/events", query_string=FILTER | types).status_code == 200
        assert post(admin, FILTER | {"types": ["NEVER"]}).status_code == 400

    def test_what_only_others_have_is_not_known_nor_named(self, nobody, admin, analyst):
        nobody.send(event(customer="HARBORLINE", product="SECRET", type="SECRET-TYPE"))
        for filter in (FILTER | {"product": "SECRE"}, FILTER | {"types": ["SECRET-TYPE"]}):
            answer = post(analyst, filter)
            assert answer.status_code == 400
            assert "SECRET" not in faults(answer)[0][1].partition("the nearest known")[2]

    def test_what_the_catalog_has_is_known_although_it_was_never_seen(self, admin, sample_catalog):
        assert post(admin, {"customer": "FERNHILL", "product": "ALERT"}).status_code == 200

    def test_nothing_is_known_where_nothing_was_seen(self, operator):
        answer = post(operator, FILTER)
        assert len(faults(answer)) == 2
        assert faults(answer)[0][1] == 'filter.customer is "BARCHART", which is not known; none is known yet.'

    def test_every_fault_is_named_at_once(self, admin):
        answer = post(admin, {"product": 5, "types": "A", "start": -1}, {"delimiter": "", "layout": "wide"})
        places = [re.match(r"[\w.\[\]]+", message)[0] for _, message in faults(answer)]
        expected = ["filter.customer", "filter.product", "filter.types", "filter.start"]
        assert places == [*expected, "output.delimiter", "output.layout"]


class TestShape:
    def test_a_body_that_is_no_object_is_malformed(self, admin):
        for body in [b"null", b"5", b"[]", b'"x"', b"[{}]"]:
            answer = admin.post("/reports", body)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
            assert "it must be an object with a filter" in faults(answer)[0][1]

    def test_a_body_that_is_not_json_is_malformed(self, admin):
        for body in [b"", b"{", b'{"filter":NaN}', b"\xff", b"[" * 100_000, b'{"filter":{}}x']:
            answer = admin.post("/reports", body)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")

    def test_the_filter_is_required(self, admin):
        assert faults(admin.post("/reports", {})) == [(MISSING, "filter is missing; it must be an object.")]

    def test_filter_and_output_are_objects(self, admin):
        for sent in [None, 5, [], "x", True]:
            for body, place in ((({"filter": sent}), "filter"), ({"filter": FILTER, "output": sent}, "output")):
                [(code, message)] = faults(admin.post("/reports", body))
                assert code == MALFORMED
                assert message.startswith(f"{place} is ")
                assert message.endswith("; it must be an object.")

    def test_text_that_cannot_be_kept_is_refused_wherever_it_stands(self, admin):
        for text in ["\\u0000", "\\ud800"]:
            for body in (
                f'{{"filter":{{"customer":"{text}","product":"PORTFOLIO"}}}}',
                f'{{"filter":{{"customer":"BARCHART","product":"PORTFOLIO","types":["{text}"]}}}}',
                f'{{"filter":{{"customer":"BARCHART","product":"PORTFOLIO"}},"output":{{"delimiter":"{text}"}}}}',
                f'{{"filter":{{"customer":"BARCHART","product":"PORTFOLIO"}},"note":"{text}"}}',
            ):
                answer = admin.post("/reports", body.encode())
                assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")


class TestOutput:
    def test_a_delimiter_is_any_one_character(self, admin):
        for delimiter in ["|", ",", ";", "\t", " ", "a", "1", "\x01", "\x7f", "'", "\\", "%", "¦", "😀"]:
            assert post(admin, FILTER, {"delimiter": delimiter}).get_json()["output"] == {"delimiter": delimiter}

    def test_quotes_line_ends_and_more_than_one_are_not(self, admin):
        for sent in ["", '"', "\r", "\n", "||", "\r\n", "🏳️‍🌈", 5, None, ["|"], True]:
            answer = post(admin, FILTER, {"delimiter": sent})
            [(code, message)] = faults(answer)
            assert (answer.status_code, code) == (400, MALFORMED)
            assert message.startswith("output.delimiter is ")
            assert "it must be one character other than a quote, a carriage return, a line feed" in message

    @pytest.mark.parametrize(
        ("field", "allowed", "wrong"),
        [
            ("format", '"csv" or "jsonl" or "parquet"', ["xlsx", "CSV", "", 5, None, []]),
            ("compression", '"none" or "gzip" or "zstd"', ["GZIP", "br", "", 5, None]),
            ("layout", '"columns" or "positional"', ["wide", "Columns", "", 5, None, []]),
            ("header", "true or false", ["true", 1, 0, None, "", []]),
            ("spreadsheetSafe", "true or false", ["true", 1, None]),
        ],
    )
    def test_any_other_value_is_refused_with_what_is_allowed(self, admin, field, allowed, wrong):
        for sent in wrong:
            [(code, message)] = faults(post(admin, FILTER, {field: sent}))
            assert code == MALFORMED
            assert message.startswith(f"output.{field} is ")
            assert message.endswith(f"; it must be {allowed}.")

    def test_parquet_is_compressed_inside_and_not_outside(self, admin):
        for sent in ["gzip", "zstd"]:
            [(code, message)] = faults(post(admin, FILTER, {"format": "parquet", "compression": sent}))
            assert code == MALFORMED
            assert message.startswith(f'output.compression is "{sent}"; it must be "none" with the format "parquet"')
        assert post(admin, FILTER, {"format": "parquet", "compression": "none"}).status_code == 200

    def test_every_format_is_echoed_as_it_was_sent_in_the_contract_s_order(self, admin):
        for name in ["csv", "jsonl", "parquet"]:
            output = {"spreadsheetSafe": True, "compression": "none", "header": True, "delimiter": ";", "format": name}
            echoed = post(admin, FILTER, output).get_json()["output"]
            assert list(echoed.items()) == [
                ("delimiter", ";"),
                ("format", name),
                ("header", True),
                ("compression", "none"),
                ("spreadsheetSafe", True),
            ]

    def test_columns_are_refused_where_the_catalog_has_none(self, admin):
        answer = post(admin, FILTER, {"layout": "columns"})
        assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert faults(answer)[0][1].startswith(
            'output.layout is "columns", but the catalog has no columns for PORTFOLIO'
        )

    def test_a_bucket_that_the_operator_does_not_list_is_forbidden(self, admin):
        answer = post(admin, FILTER, {"bucketName": "b", "bucketKey": "k"})
        assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")
        assert admin.get("/reports").get_json() == {"reports": []}

    @pytest.mark.parametrize(("given", "missing"), [("bucketName", "bucketKey"), ("bucketKey", "bucketName")])
    def test_a_bucket_without_a_key_or_the_other_way_round_is_refused(self, admin, given, missing):
        [(code, message)] = faults(post(admin, FILTER, {given: "analysts"}))
        assert code == MISSING
        assert message.startswith(f"output.{missing} is missing; it must be ")

    @pytest.mark.parametrize("name", ["a", "november/PORTFOLIO.csv", "ä ö+%?#/...", ".a/..b/x.", "x" * 1024, "ä" * 512])
    def test_a_bucket_key_is_any_name_that_every_s3_store_takes(self, admin, name):
        answer = post(admin, FILTER, {"bucketName": "b", "bucketKey": name})
        assert answer.status_code == 403  # the name is well, the bucket is not allowed

    @pytest.mark.parametrize(
        "name",
        [
            "", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\nb", "a\x7f", "x" * 1025, "ä" * 513,
            None, 5, ["a"],
        ],
    )  # fmt: skip
    def test_another_bucket_key_is_refused_and_told_what_is_allowed(self, admin, name):
        [(code, message)] = faults(post(admin, FILTER, {"bucketName": "b", "bucketKey": name}))
        assert code == MALFORMED
        assert message.startswith("output.bucketKey ")
        assert "it must be 1 to 1,024 bytes in UTF-8 without control characters" in message


class TestScope:
    def test_another_customers_data_is_forbidden(self, analyst, seen):
        answer = post(analyst, FILTER | {"customer": "HARBORLINE"})
        assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")
        assert answer.get_json()[0]["children"] == []

    def test_whether_another_customer_is_known_is_not_told(self, analyst, nobody, seen):
        nobody.send(event(customer="SECRET"))
        messages = [
            post(analyst, FILTER | {"customer": name}).get_data(as_text=True).replace(name, "?")
            for name in ("SECRET", "NOBODY")
        ]
        assert messages[0] == messages[1]


@pytest.mark.settings(redis_url="unix:///nowhere/redis.sock")
def test_a_report_is_accepted_at_once_although_redis_is_away(admin):
    began = time.monotonic()
    job = post(admin, FILTER).get_json()
    assert time.monotonic() - began < slack(1)
    assert job["status"] == "RUNNING"
    assert admin.availability(job["source"]) == job


def test_a_body_in_any_order_and_with_escapes_is_the_same(admin):
    body = json.dumps({"output": {}, "filter": FILTER}).replace("BARCHART", "\\u0042ARCHART").encode()
    assert admin.post("/reports", body).get_json()["filter"] == FILTER
