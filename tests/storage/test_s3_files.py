"""Report files in an S3-compatible store: failures of the store are reported in time and leave nothing behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

import pytest

from app.exceptions import SettingInvalid, StorageFailed
from app.storage import open_storage
from app.storage.s3 import S3Storage, Store, upload
from app.storage.s3.store import Patience
from tests.storage.test_every_storage import JOB, KEY, MIB, PART, content, names, put
from tests.support.pace import slack
from tests.support.running import ROOT, free_port
from tests.support.s3 import CREDENTIALS, PAGE, S3, STORAGE
from tests.support.wire import Wire

QUICK = Patience(connect_seconds=1, read_seconds=3, attempts=2)
SIZE_OPERATION = 3  # the position in `operations` of the operation whose response has no body
HASTY = Patience(connect_seconds=0.5, read_seconds=0.5, attempts=2)
DATA = random.Random(3).randbytes(20 * MIB)


@pytest.fixture
def storage(s3_storage) -> S3Storage:
    return s3_storage


@pytest.fixture
def wire(s3: S3) -> Iterator[Wire]:
    wire = Wire(s3.endpoint)
    yield wire
    wire.close()


@pytest.fixture
def storage_by_wire(wire: Wire) -> S3Storage:
    """Return the storage through a wire that can be cut, with short time limits."""
    return make_impatient(wire.url)


def make_impatient(endpoint: str, patience: Patience = QUICK) -> S3Storage:
    return S3Storage(Store(endpoint, work=patience, ask=patience), STORAGE, "reports/")


class TestObjects:
    def test_objects_are_stored_under_the_prefix(self, s3, storage):
        put(storage, KEY, b"data")
        assert s3.objects() == {f"reports/{KEY}": b"data"}

    def test_a_prefix_may_be_empty_nested_or_unusual(self, s3):
        for prefix, name in [("", KEY), ("/", KEY), ("/a/b/", f"a/b/{KEY}"), ("/%C3%A4%20+", f"ä +/{KEY}")]:
            s3.reset()
            storage = open_storage(f"s3://{STORAGE}{prefix}", s3.endpoint)
            put(storage, KEY, b"data")
            assert s3.objects() == {name: b"data"}
            assert (names(storage), content(storage, KEY)) == ([KEY], b"data")

    def test_a_small_file_is_one_request_and_a_large_file_is_sent_in_parts(self, s3, storage):
        put(storage, PART, DATA[: 8 * MIB - 1])
        put(storage, KEY, DATA)
        tags = [s3.client.head_object(Bucket=STORAGE, Key=f"reports/{key}")["ETag"] for key in (PART, KEY)]
        assert [tag.strip('"').partition("-")[2] for tag in tags] == ["", "3"]

    def test_other_objects_are_neither_listed_nor_removed(self, s3, storage):
        put(storage, KEY)
        others = ["reports/notes.txt", f"reports/{PART}/x", f"elsewhere/{PART}", PART, f"reports/x{PART}"]
        for name in others:
            s3.client.put_object(Bucket=STORAGE, Key=name, Body=b"somebody else's")
            s3.client.create_multipart_upload(Bucket=STORAGE, Key=name)
        assert names(storage) == [KEY]
        storage.discard(PART)
        assert set(s3.objects()) == {*others, f"reports/{KEY}"}
        assert sorted(s3.unfinished()) == sorted(others)

    def test_contents_span_several_pages(self, s3, storage):
        keys = [f"{JOB}.{number:x}.part" for number in range(PAGE + 5)]
        for key in keys:
            s3.client.put_object(Bucket=STORAGE, Key=f"reports/{key}", Body=b"")
        assert names(storage) == sorted(keys)

    def test_parts_grow_when_there_are_many(self, s3, storage, monkeypatch):
        monkeypatch.setattr(upload, "EARLY_PARTS", 1)
        monkeypatch.setattr(upload, "LATE_PART_BYTES", 12 * MIB)
        put(storage, KEY, DATA)
        assert content(storage, KEY) == DATA
        assert s3.client.head_object(Bucket=STORAGE, Key=f"reports/{KEY}")["ETag"].endswith('-2"')

    def test_a_file_with_too_many_parts_for_s3_is_reported(self, s3, storage, monkeypatch):
        monkeypatch.setattr(upload, "MAX_PARTS", 2)
        broken = storage.create(KEY)
        with pytest.raises(StorageFailed, match=r"^The file is longer than S3 takes: 25165824 bytes\.$"):
            broken.write(bytes(24 * MIB))
        broken.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])


class TestMemory:
    def test_a_large_file_is_never_entirely_in_memory(self, storage):
        put(storage, PART)  # creates the clients
        block = bytes(MIB)
        tracemalloc.start()
        try:
            long = storage.create(KEY)
            for _ in range(120):
                long.write(block)
            long.commit()
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            with storage.open(KEY) as file:
                assert sum(len(data) for data in iter(lambda: file.read(256 * 1024), b"")) == 120 * MIB
            read = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert written < 4 * 8 * MIB + 2 * MIB
        assert read < 4 * MIB

    def test_local_storage_does_not_import_boto3(self, tmp_path):
        code = (
            "import sys; from app import create_app; from app.config import Settings;"
            "create_app(Settings(data_dir=__import__('pathlib').Path('var'))); import app.jobs;"
            "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert run.stdout == "[]\n", run.stderr


def test_opening_a_storage_sends_no_request():
    open_storage("s3://nowhere/at/all", "http://127.0.0.1:1")


def test_without_boto3_opening_fails_with_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("app.storage.s3", "boto3"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingInvalid, match=r"S3 needs boto3. Install the extra: tally-events\[s3\]\.$"):
        open_storage("s3://bucket/prefix")


def test_a_child_process_uses_its_own_connection(storage):
    put(storage, KEY)
    child = os.fork()
    if not child:
        try:
            put(storage, PART, b"of the child")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert content(storage, PART) == b"of the child"


class TestUnavailableStore:
    def test_a_refused_connection_is_reported_at_once(self, storage_by_wire, wire):
        wire.refuse()
        for operation in operations(storage_by_wire):
            began = time.monotonic()
            with pytest.raises(StorageFailed, match=r"^The S3 store cannot be reached\.$"):
                operation()
            assert time.monotonic() - began < slack(5)

    def test_a_store_that_never_answers_is_reported_within_the_time_limit(self, wire):
        wire.hang()
        for operation in operations(make_impatient(wire.url, HASTY)):
            began = time.monotonic()
            with pytest.raises(StorageFailed, match=r"^The S3 store does not answer in time\.$"):
                operation()
            assert time.monotonic() - began < slack(2 * HASTY.read_seconds + 4)  # includes the pause between attempts

    def test_a_broken_connection_is_reported(self, storage_by_wire, wire):
        wire.lose_answers()
        for operation in operations(storage_by_wire):
            with pytest.raises(StorageFailed, match=r"^The S3 store broke the connection off\.$"):
                operation()

    def test_an_interrupted_part_is_sent_again(self, s3, storage_by_wire, wire):
        wire.cut_after(5 * MIB, times=1)
        put(storage_by_wire, KEY, DATA)
        assert s3.objects() == {f"reports/{KEY}": DATA}

    @pytest.mark.parametrize("fault", ["refuse", "hang", "cut_after", "lose_answers"])
    def test_an_abort_after_a_failure_within_a_part_leaves_nothing(self, s3, storage_by_wire, wire, fault):
        broken = storage_by_wire.create(KEY)
        broken.write(DATA[: 9 * MIB])
        getattr(wire, fault)(*([2 * MIB] if fault == "cut_after" else []))
        with pytest.raises(StorageFailed):
            for _ in range(10):
                broken.write(DATA)
        with pytest.raises(StorageFailed):
            broken.commit()
        wire.restore()
        broken.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])

    def test_a_retried_start_of_an_upload_leaves_no_second_upload(self, s3, storage_by_wire, wire):
        wire.lose_answers(times=1)
        put(storage_by_wire, KEY, DATA)
        assert (list(s3.objects()), s3.unfinished()) == ([f"reports/{KEY}"], [])

    def test_an_abort_removes_uploads_whose_start_was_never_answered(self, s3, storage_by_wire, wire):
        wire.lose_answers()
        broken = storage_by_wire.create(KEY)
        with pytest.raises(StorageFailed):
            broken.write(DATA)
        wire.restore()
        assert s3.unfinished() != []
        broken.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])

    def test_an_abort_that_fails_raises_nothing_and_leaves_the_upload_to_cleanup(self, s3, storage_by_wire, wire):
        broken = storage_by_wire.create(KEY)
        broken.write(DATA)
        wire.refuse()
        broken.abort()
        wire.restore()
        assert s3.unfinished() == [f"reports/{KEY}"]
        assert names(storage_by_wire) == [KEY]
        storage_by_wire.discard(KEY)
        assert (s3.unfinished(), names(storage_by_wire)) == ([], [])

    @pytest.mark.parametrize("size", [5, 20 * MIB])
    def test_a_commit_whose_first_response_was_lost_succeeds(self, s3, storage_by_wire, wire, size):
        committed = storage_by_wire.create(KEY)
        committed.write(DATA[:size])
        wait_for_parts(committed)
        wire.lose_answers(times=1)
        committed.commit()
        assert s3.objects() == {f"reports/{KEY}": DATA[:size]}

    @pytest.mark.parametrize("size", [5, 20 * MIB])
    def test_an_abort_reverts_a_commit_that_was_never_answered(self, s3, storage_by_wire, wire, size):
        unanswered = storage_by_wire.create(KEY)
        unanswered.write(DATA[:size])
        wait_for_parts(unanswered)
        wire.lose_answers()
        with pytest.raises(StorageFailed):
            unanswered.commit()
        wire.restore()
        unanswered.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])


def operations(storage: S3Storage) -> list:
    """Return every operation that sends requests to the store."""
    return [
        lambda: put(storage, KEY),
        lambda: put(storage, KEY, bytes(9 * MIB)),
        lambda: storage.open(KEY),
        lambda: storage.size(KEY),
        lambda: storage.discard(KEY),
        lambda: list(storage.contents()),
    ]


def wait_for_parts(upload: object) -> None:
    """Wait until all full parts have been sent."""
    upload.wait_for(0)


class TestReading:
    def test_a_broken_connection_is_resumed_at_its_position(self, storage_by_wire, wire):
        put(storage_by_wire, KEY, DATA)
        with storage_by_wire.open(KEY) as file:
            read = file.read(3 * MIB)
            wire.cut_after(2 * MIB, times=1)
            assert read + file.read() == DATA

    def test_a_store_that_stays_unavailable_is_reported(self, storage_by_wire, wire):
        put(storage_by_wire, KEY, DATA)
        with storage_by_wire.open(KEY) as file:
            assert file.read(MIB) == DATA[:MIB]
            wire.refuse()
            with pytest.raises(StorageFailed, match="cannot be reached"):
                file.read()

    def test_a_store_that_stops_answering_is_reported(self, storage_by_wire, wire):
        put(storage_by_wire, KEY, DATA)
        with storage_by_wire.open(KEY) as file:
            assert file.read(MIB) == DATA[:MIB]
            wire.hang()
            with pytest.raises(StorageFailed, match="does not answer in time"):
                file.read()

    def test_reading_does_not_continue_in_a_file_that_replaced_it(self, storage_by_wire, wire):
        put(storage_by_wire, KEY, DATA)
        with storage_by_wire.open(KEY) as file:
            assert file.read(MIB) == DATA[:MIB]
            put(storage_by_wire, KEY, DATA[::-1])
            wire.cut_after(0, times=1)
            with pytest.raises(StorageFailed):
                file.read()


class ErrorHandler(BaseHTTPRequestHandler):
    """Handler that answers every request with the same error."""

    def _answer(self) -> None:
        status, code = self.server.answer
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = (
            f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of {escape(self.path)}</Message></Error>".encode()
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - the library's names

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def error_server(s3) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ErrorHandler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class TestErrorResponses:
    @pytest.mark.parametrize(
        ("answer", "sentence"),
        [
            ((403, "AccessDenied"), "The S3 store denies access to the bucket tally (AccessDenied)."),
            ((404, "NoSuchBucket"), "The S3 store has no bucket tally."),
            ((403, "InvalidAccessKeyId"), "does not take the credentials (InvalidAccessKeyId). Look at AWS_"),
            ((403, "SignatureDoesNotMatch"), "does not take the credentials (SignatureDoesNotMatch)."),
            ((507, "XMinioStorageFull"), "The S3 store is full (XMinioStorageFull)."),
            ((503, "SlowDown"), "The S3 store answered SlowDown."),
            ((500, "Not a code: AKIAEXAMPLE"), "The S3 store answered an error."),
        ],
    )  # fmt: skip
    def test_an_error_is_reported_without_secrets(self, error_server, answer, sentence):
        error_server.answer = answer
        all_operations = operations(make_impatient(f"http://127.0.0.1:{error_server.server_port}"))
        for operation in [candidate for place, candidate in enumerate(all_operations) if place != SIZE_OPERATION]:
            with pytest.raises(StorageFailed) as raised:
                operation()
            assert sentence in str(raised.value)
            assert not any(word in str(raised.value) for word in ("AKIA", "127.0.0.1", KEY, *CREDENTIALS.values()))

    def test_a_size_that_is_denied_does_not_look_like_a_missing_file(self, error_server):
        error_server.answer = (403, "AccessDenied")
        with pytest.raises(StorageFailed, match=r"denies access to the bucket tally \(403\)"):
            make_impatient(f"http://127.0.0.1:{error_server.server_port}").size(KEY)

    def test_an_upload_that_is_denied_can_be_aborted(self, error_server):
        error_server.answer = (403, "AccessDenied")
        storage = make_impatient(f"http://127.0.0.1:{error_server.server_port}")
        for data in (b"little", DATA):
            broken = storage.create(KEY)
            with pytest.raises(StorageFailed, match="denies access"):
                broken.write(data)
                broken.commit()
            broken.abort()

    def test_missing_credentials_are_reported(self, s3, monkeypatch, tmp_path):
        for name in CREDENTIALS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(
            StorageFailed, match=r"^There are no credentials for the S3 store\. Set AWS_ACCESS_KEY_ID and"
        ):
            put(open_storage(s3.url, s3.endpoint), KEY)

    def test_a_missing_bucket_is_reported(self, s3):
        with pytest.raises(StorageFailed, match=r"^The S3 store has no bucket nowhere\.$"):
            put(open_storage("s3://nowhere/reports", s3.endpoint), KEY)

    def test_an_address_without_a_server_fails_within_seconds(self, s3):
        storage = open_storage(s3.url, f"http://127.0.0.1:{free_port()}")
        began = time.monotonic()
        with pytest.raises(StorageFailed, match="cannot be reached"):
            storage.size(KEY)
        assert time.monotonic() - began < slack(5)
