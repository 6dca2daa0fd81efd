"""Bodies: media types, content codings and limits, the same for every operation that takes a body."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib

import pytest
import zstandard

from app.schemas import batches, events
from app.schemas.batches import load_event
from tests.support.client import Client, event, faults, root
from tests.support.pace import slack

DATABASE = "sqlite"  # a body is checked before the database is used

MIB = 1024 * 1024
LIMIT = 4096
EVENTS = json.dumps({"events": [event()]}).encode()


def padded(size: int) -> bytes:
    """Return a batch of one event with exactly this many bytes."""
    return EVENTS[:-1] + b" " * (size - len(EVENTS)) + EVENTS[-1:]


def deflate_raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def zstd_of_unknown_size(data: bytes) -> bytes:
    """Compress as a streaming client does, without the content size in the frame."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(data) + packer.flush()


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its wrapper": ("deflate", deflate_raw),
    "zstd": ("zstd", zstd),
    "zstd of unknown size": ("zstd", zstd_of_unknown_size),
}
each_coding = pytest.mark.parametrize(("coding", "pack"), CODINGS.values(), ids=CODINGS.keys())


def post(client: Client, body: bytes, coding: str | None = None, path: str = "/events"):
    return client.post(path, body, headers={"Content-Encoding": coding} if coding is not None else {})


class TestMediaTypes:
    def test_json_is_accepted_with_any_parameters(self, nobody):
        for media_type in [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8; x=y",
            "Application/JSON",
        ] + ["application/json;", "text/plain", "text/plain;charset=UTF-8"]:
            assert nobody.post("/events", EVENTS, media_type).status_code == 200

    def test_a_form_media_type_is_parsed_as_json_because_curl_sends_it(self, nobody, admin):
        report = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}
        for media_type in ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"]:
            assert nobody.post("/events", EVENTS, media_type).status_code == 200
            assert admin.post("/reports", report, media_type).status_code == 200
            assert root(nobody.post("/events", b"customer=BARCHART", media_type)) == "REQUEST_INPUT_MALFORMED"

    def test_a_missing_media_type_is_parsed_as_json(self, nobody, admin):
        report = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}
        for media_type in ["", " "]:
            assert nobody.post("/events", EVENTS, media_type).status_code == 200
        assert nobody.request("POST", "/events", data=EVENTS).status_code == 200
        assert admin.request("POST", "/reports", data=json.dumps(report)).status_code == 200

    def test_any_other_media_type_is_unsupported(self, nobody, services):
        for media_type in [
            "text/html",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/json+x",
            "application/problem+json",
            "json",
            "text/csv",
            "é",
            ";",
        ]:
            answer = nobody.post("/events", EVENTS, media_type)
            assert (answer.status_code, root(answer)) == (415, "REQUEST_TYPE_UNSUPPORTED")
            message = answer.get_json()[0]["value"]["message"]
            assert "application/json or text/plain or application/x-www-form-urlencoded" in message
            assert services.ingest.count() == 0

    def test_lines_are_accepted_for_events_only(self, admin):
        answer = admin.post("/reports", {"filter": {}}, "application/x-ndjson")
        assert (answer.status_code, root(answer)) == (415, "REQUEST_TYPE_UNSUPPORTED")

    def test_reports_accept_the_same_media_types_and_codings(self, admin):
        admin.send(event())
        body = json.dumps({"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}).encode()
        assert admin.post("/reports", body, "text/plain;charset=UTF-8").status_code == 200
        assert post(admin, gzip.compress(body), "gzip", "/reports").status_code == 200


class TestCodings:
    @each_coding
    def test_a_compressed_batch_is_accepted(self, nobody, services, coding, pack):
        assert post(nobody, pack(EVENTS), coding).status_code == 200
        assert services.ingest.count() == 1

    def test_compressed_lines_are_accepted(self, nobody):
        lines = gzip.compress((json.dumps(event()) + "\n").encode() * 5)
        headers = {"Content-Encoding": "gzip"}
        assert len(nobody.post("/events", lines, "application/x-ndjson", headers=headers).get_json()) == 5

    def test_identity_means_no_coding(self, nobody):
        for coding in ["identity", "Identity", ""]:
            assert post(nobody, EVENTS, coding).status_code == 200

    def test_any_other_coding_is_unsupported(self, nobody, services):
        for coding in ["br", "compress", "gzip, gzip", "deflate, gzip", "aws-chunked", "x", "gzip;q=1"]:
            answer = post(nobody, EVENTS, coding)
            assert (answer.status_code, root(answer)) == (415, "REQUEST_TYPE_UNSUPPORTED")
            assert answer.get_json()[0]["value"]["message"].endswith("it must be gzip, deflate or zstd.")
            assert services.ingest.count() == 0

    def test_several_gzip_members_are_one_body(self, nobody):
        body = b"".join(gzip.compress(EVENTS[at : at + 20]) for at in range(0, len(EVENTS), 20))
        assert post(nobody, body, "gzip").status_code == 200

    def test_several_zstd_frames_are_one_body(self, nobody):
        assert post(nobody, zstd(EVENTS[:50]) + zstd(EVENTS[50:]), "zstd").status_code == 200

    @pytest.mark.parametrize(("coding", "empty"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstd(b""))])
    def test_a_body_of_too_many_empty_parts_is_rejected_fast(self, nobody, coding, empty):
        """Each part costs an object and a copy, so ten megabytes of them once took minutes of processor time."""
        began = time.process_time()
        answer = post(nobody, empty * (9 * MIB // len(empty)) + zstd(EVENTS), coding)
        assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")
        assert time.process_time() - began < 3

    def test_a_body_joined_from_many_parts_is_accepted(self, nobody):
        for coding, pack in (("gzip", gzip.compress), ("zstd", zstd)):
            assert post(nobody, pack(b"") * 900 + pack(EVENTS), coding).status_code == 200

    @each_coding
    def test_a_truncated_body_is_malformed_wherever_it_ends(self, nobody, services, coding, pack):
        packed = pack(EVENTS)
        for cut in (0, 1, 5, len(packed) // 2, len(packed) - 5, len(packed) - 1):
            answer = post(nobody, packed[:cut], coding)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED"), cut
        assert services.ingest.count() == 0

    @each_coding
    def test_trailing_garbage_is_malformed(self, nobody, services, coding, pack):
        for garbage in (b"x", b"garbage" * 100, b"\0"):
            answer = post(nobody, pack(EVENTS) + garbage, coding)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
        assert services.ingest.count() == 0

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
    def test_a_body_in_another_coding_is_malformed(self, nobody, coding):
        for body in [EVENTS, b"", b"\0" * 100, b"\x1f\x8b" * 50, b"\x28\xb5\x2f\xfd" * 10]:
            answer = post(nobody, body, coding)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")

    def test_an_invalid_checksum_is_malformed(self, nobody, services):
        packed = bytearray(gzip.compress(EVENTS))
        packed[-6] ^= 1
        assert post(nobody, bytes(packed), "gzip").status_code == 400
        assert services.ingest.count() == 0


@pytest.mark.settings(max_body_bytes=LIMIT, max_batch_events=3)
class TestLimits:
    def test_a_body_of_the_maximum_size_is_accepted(self, nobody):
        assert post(nobody, padded(LIMIT)).status_code == 200

    def test_one_byte_more_is_too_large(self, nobody, services):
        answer = post(nobody, padded(LIMIT + 1))
        assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")
        assert str(LIMIT) in answer.get_json()[0]["value"]["message"]
        assert services.ingest.count() == 0

    @each_coding
    def test_the_limit_applies_to_the_decompressed_size(self, nobody, services, coding, pack):
        assert post(nobody, pack(padded(LIMIT)), coding).status_code == 200
        answer = post(nobody, pack(padded(LIMIT + 1)), coding)
        assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")
        assert services.ingest.count() == 1

    def test_the_maximum_number_of_events_is_accepted(self, nobody):
        assert nobody.post("/events", [event()] * 3).status_code == 200

    def test_one_event_more_is_too_large_in_every_form_even_if_invalid(self, nobody, services):
        for items in ['{"customer":"C","product":"P","type":"T","timestamp":1,"context":[]}', "5", "{}"]:
            array = "[" + ",".join([items] * 4) + "]"
            lines = "\n".join([items] * 4)
            for body, media_type in [
                (array, "application/json"),
                (f'{{"events":{array}}}', "application/json"),
                (f'{{"events":{array},"more":1}}', "text/plain"),
                (lines, "application/x-ndjson"),
            ]:
                answer = nobody.post("/events", body.encode(), media_type)
                assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")
                assert answer.get_json()[0]["value"]["message"] == (
                    "events has 4 events; one request may have at most 3."
                )
            assert services.ingest.count() == 0

    def test_blank_lines_do_not_count_as_events(self, nobody):
        lines = "\n\n".join([json.dumps(event())] * 3)
        assert nobody.post("/events", lines.encode(), "application/x-ndjson").status_code == 200

    def test_reports_have_the_same_limit(self, admin):
        answer = post(admin, b" " * (LIMIT + 1), path="/reports")
        assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd)])
def test_a_decompression_bomb_is_rejected_fast_and_in_little_memory(nobody, coding, pack):
    bomb = pack(b"[" + b" " * (64 * MIB))
    tracemalloc.start()
    try:
        began = time.monotonic()
        answer = post(nobody, bomb, coding)
        assert (answer.status_code, root(answer)) == (413, "REQUEST_TOO_LARGE")
        assert time.monotonic() - began < slack(2)
        assert tracemalloc.get_traced_memory()[1] < 30 * MIB
    finally:
        tracemalloc.stop()


def test_a_zstd_frame_with_a_huge_window_is_rejected(nobody):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27, write_content_size=0)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    answer = post(nobody, packer.compress(EVENTS) + packer.flush(), "zstd")
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")


def array(item: bytes, size: int = 10 * MIB) -> bytes:
    """Repeat an item up to nearly this size."""
    return b"[" + b",".join([item] * ((size - 2) // (len(item) + 1))) + b"]"


# made when they are sent, because each process collects all tests
COSTLY = {
    "numbers": (lambda: array(b"1"), 413),
    "empty lists": (lambda: array(b"[]"), 413),
    "lists in lists": (lambda: array(b"[[[[[1]]]]]"), 413),
    "strings of punctuation": (lambda: array(b'",[{,[{,[{,[{,[{"'), 413),
    "escaped quotes that are never closed": (lambda: b'[1,"' + b'\\",' * 3 * MIB, 400),
    "depth": (lambda: b"[" * 10 * MIB, 400),
    "one event of very many items": (lambda: b'[{"context":' + array(b"1", 500_000) + b"}]", 413),
    "one event with very many keys": (lambda: b"[{" + b'"k":1,' * 100_000 + b'"k":1}]', 413),
    "very many keys beside the events": (lambda: b'{"events":[],' + b'"k":1,' * 100_000 + b'"k":1}', 413),
    "a number of a million digits": (lambda: b'[{"timestamp":' + b"1" * 1_000_000 + b"}]", 400),
    "lines": (lambda: b"1\n" * 5 * MIB, 413),
}


@pytest.mark.parametrize(("make_body", "status"), COSTLY.values(), ids=COSTLY.keys())
def test_a_small_request_costs_little(nobody, make_body, status):
    """Ten kilobytes of gzip once became 300 MB of numbers. Without the limits, it is ten times the bound."""
    packed = gzip.compress(body := make_body(), 1)
    media_type = "application/x-ndjson" if body.startswith(b"1\n") else "application/json"
    tracemalloc.start()
    try:
        answer = nobody.post("/events", packed, media_type, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, tracemalloc.get_traced_memory()[1] < 100 * MIB) == (status, True)
    finally:
        tracemalloc.stop()


def test_errors_explain_the_first_invalid_events_and_count_all(nobody, monkeypatch):
    """An explanation takes fifty microseconds, and a request may have a hundred thousand events."""
    explained = []
    monkeypatch.setattr(batches, "load_event", lambda item: explained.append(item) or load_event(item))
    for module in (batches, events):
        monkeypatch.setattr(module, "MAX_EXPLAINED", 5)
    answer = nobody.post("/events", array(b"{}", 226))
    assert answer.status_code == 400
    assert len(explained) == 5
    assert faults(answer)[-1][1] == "events[73] is invalid; of a request the first 5 are explained."


def test_a_body_shorter_than_announced_is_malformed(nobody, services):
    announced = {"CONTENT_LENGTH": str(len(EVENTS) + 10), "wsgi.input_terminated": True}  # as granian sets it
    answer = nobody.post("/events", EVENTS, environ_overrides=announced)
    assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
    assert services.ingest.count() == 0
