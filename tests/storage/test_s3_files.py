"""Report files in an S3-compatible store, which may be away, silent, cut off or refuse: told in time, nothing left."""

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
SIZE = 3  # the question that is answered without a body, see `asking`
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
def by_wire(wire: Wire) -> S3Storage:
    """The storage, by a wire that can be cut, and with little patience."""
    return impatient(wire.url)


def impatient(endpoint: str, patience: Patience = QUICK) -> S3Storage:
    return S3Storage(Store(endpoint, work=patience, ask=patience), STORAGE, "reports/")


class TestObjects:
    def test_they_stand_under_the_prefix(self, s3, storage):
        put(storage, KEY, b"data")
        assert s3.objects() == {f"reports/{KEY}": b"data"}

    def test_a_prefix_may_be_missing_or_deep_or_strange(self, s3):
        for prefix, name in [("", KEY), ("/", KEY), ("/a/b/", f"a/b/{KEY}"), ("/%C3%A4%20+", f"ä +/{KEY}")]:
            s3.reset()
            storage = open_storage(f"s3://{STORAGE}{prefix}", s3.endpoint)
            put(storage, KEY, b"data")
            assert s3.objects() == {name: b"data"}
            assert (names(storage), content(storage, KEY)) == ([KEY], b"data")

    def test_a_small_file_is_one_request_and_a_large_one_comes_in_parts(self, s3, storage):
        put(storage, PART, DATA[: 8 * MIB - 1])
        put(storage, KEY, DATA)
        tags = [s3.client.head_object(Bucket=STORAGE, Key=f"reports/{key}")["ETag"] for key in (PART, KEY)]
        assert [tag.strip('"').partition("-")[2] for tag in tags] == ["", "3"]

    def test_what_is_not_ours_is_neither_told_nor_removed(self, s3, storage):
        put(storage, KEY)
        others = ["reports/notes.txt", f"reports/{PART}/x", f"elsewhere/{PART}", PART, f"reports/x{PART}"]
        for name in others:
            s3.client.put_object(Bucket=STORAGE, Key=name, Body=b"somebody else's")
            s3.client.create_multipart_upload(Bucket=STORAGE, Key=name)
        assert names(storage) == [KEY]
        storage.discard(PART)
        assert set(s3.objects()) == {*others, f"reports/{KEY}"}
        assert sorted(s3.unfinished()) == sorted(others)

    def test_more_than_a_page_of_them_is_told(self, s3, storage):
        keys = [f"{JOB}.{number:x}.part" for number in range(PAGE + 5)]
        for key in keys:
            s3.client.put_object(Bucket=STORAGE, Key=f"reports/{key}", Body=b"")
        assert names(storage) == sorted(keys)

    def test_parts_grow_where_they_become_many(self, s3, storage, monkeypatch):
        monkeypatch.setattr(upload, "EARLY_PARTS", 1)
        monkeypatch.setattr(upload, "LATE_PART_BYTES", 12 * MIB)
        put(storage, KEY, DATA)
        assert content(storage, KEY) == DATA
        assert s3.client.head_object(Bucket=STORAGE, Key=f"reports/{KEY}")["ETag"].endswith('-2"')

    def test_a_file_of_more_parts_than_s3_takes_is_told(self, s3, storage, monkeypatch):
        monkeypatch.setattr(upload, "MAX_PARTS", 2)
        broken = storage.create(KEY)
        with pytest.raises(StorageFailed, match=r"^The file is longer than S3 takes: 25165824 bytes\.$"):
            broken.write(bytes(24 * MIB))
        broken.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])


class TestMemory:
    def test_a_large_file_is_never_in_memory_as_a_whole(self, storage):
        put(storage, PART)  # the clients are made
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

    def test_who_keeps_files_on_disk_does_not_pay_for_boto3(self, tmp_path):
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


def test_nothing_is_asked_before_the_first_file():
    open_storage("s3://nowhere/at/all", "http://127.0.0.1:1")


def test_without_boto3_the_start_stops_and_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("app.storage.s3", "boto3"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingInvalid, match=r"S3 needs boto3. Install the extra: tally\[s3\]\.$"):
        open_storage("s3://bucket/prefix")


def test_a_child_speaks_by_a_connection_of_its_own(storage):
    put(storage, KEY)
    child = os.fork()
    if not child:
        try:
            put(storage, PART, b"of the child")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert content(storage, PART) == b"of the child"


class TestAway:
    def test_a_store_that_refuses_connections_is_told_at_once(self, by_wire, wire):
        wire.refuse()
        for use in asking(by_wire):
            began = time.monotonic()
            with pytest.raises(StorageFailed, match=r"^The S3 store cannot be reached\.$"):
                use()
            assert time.monotonic() - began < slack(5)

    def test_a_store_that_never_answers_is_told_within_its_time(self, wire):
        wire.hang()
        for use in asking(impatient(wire.url, HASTY)):
            began = time.monotonic()
            with pytest.raises(StorageFailed, match=r"^The S3 store does not answer in time\.$"):
                use()
            assert time.monotonic() - began < slack(2 * HASTY.read_seconds + 4)  # a pause between the attempts

    def test_a_store_that_cuts_off_is_told(self, by_wire, wire):
        wire.lose_answers()
        for use in asking(by_wire):
            with pytest.raises(StorageFailed, match=r"^The S3 store broke the connection off\.$"):
                use()

    def test_a_part_that_was_cut_off_is_sent_again(self, s3, by_wire, wire):
        wire.cut_after(5 * MIB, times=1)
        put(by_wire, KEY, DATA)
        assert s3.objects() == {f"reports/{KEY}": DATA}

    @pytest.mark.parametrize("fault", ["refuse", "hang", "cut_after", "lose_answers"])
    def test_what_breaks_in_the_middle_of_a_part_leaves_nothing_after_the_abort(self, s3, by_wire, wire, fault):
        broken = by_wire.create(KEY)
        broken.write(DATA[: 9 * MIB])
        getattr(wire, fault)(*([2 * MIB] if fault == "cut_after" else []))
        with pytest.raises(StorageFailed):
            for _ in range(10):
                broken.write(DATA)
        with pytest.raises(StorageFailed):
            broken.commit()
        wire.mend()
        broken.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])

    def test_an_upload_whose_beginning_got_no_answer_leaves_no_second_one(self, s3, by_wire, wire):
        wire.lose_answers(times=1)
        put(by_wire, KEY, DATA)
        assert (list(s3.objects()), s3.unfinished()) == ([f"reports/{KEY}"], [])

    def test_nor_is_it_left_where_none_of_its_tries_was_answered(self, s3, by_wire, wire):
        wire.lose_answers()
        broken = by_wire.create(KEY)
        with pytest.raises(StorageFailed):
            broken.write(DATA)
        wire.mend()
        assert s3.unfinished() != []
        broken.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])

    def test_an_abort_that_fails_raises_nothing_and_leaves_the_rest_to_the_sweeper(self, s3, by_wire, wire):
        broken = by_wire.create(KEY)
        broken.write(DATA)
        wire.refuse()
        broken.abort()
        wire.mend()
        assert s3.unfinished() == [f"reports/{KEY}"]
        assert names(by_wire) == [KEY]
        by_wire.discard(KEY)
        assert (s3.unfinished(), names(by_wire)) == ([], [])

    @pytest.mark.parametrize("size", [5, 20 * MIB])
    def test_a_commit_whose_first_answer_was_lost_is_one(self, s3, by_wire, wire, size):
        done = by_wire.create(KEY)
        done.write(DATA[:size])
        settled(done)
        wire.lose_answers(times=1)
        done.commit()
        assert s3.objects() == {f"reports/{KEY}": DATA[:size]}

    @pytest.mark.parametrize("size", [5, 20 * MIB])
    def test_a_commit_that_never_was_answered_is_undone_by_the_abort(self, s3, by_wire, wire, size):
        doubtful = by_wire.create(KEY)
        doubtful.write(DATA[:size])
        settled(doubtful)
        wire.lose_answers()
        with pytest.raises(StorageFailed):
            doubtful.commit()
        wire.mend()
        doubtful.abort()
        assert (s3.objects(), s3.unfinished()) == ({}, [])


def asking(storage: S3Storage) -> list:
    """Every question that a storage puts to the store."""
    return [
        lambda: put(storage, KEY),
        lambda: put(storage, KEY, bytes(9 * MIB)),
        lambda: storage.open(KEY),
        lambda: storage.size(KEY),
        lambda: storage.discard(KEY),
        lambda: list(storage.contents()),
    ]


def settled(upload: object) -> None:
    """Let every part that is full arrive."""
    upload.wait_for(0)


class TestReading:
    def test_a_connection_that_breaks_off_is_made_again_where_it_was(self, by_wire, wire):
        put(by_wire, KEY, DATA)
        with by_wire.open(KEY) as file:
            read = file.read(3 * MIB)
            wire.cut_after(2 * MIB, times=1)
            assert read + file.read() == DATA

    def test_a_store_that_stays_away_is_told(self, by_wire, wire):
        put(by_wire, KEY, DATA)
        with by_wire.open(KEY) as file:
            assert file.read(MIB) == DATA[:MIB]
            wire.refuse()
            with pytest.raises(StorageFailed, match="cannot be reached"):
                file.read()

    def test_a_store_that_falls_silent_is_told(self, by_wire, wire):
        put(by_wire, KEY, DATA)
        with by_wire.open(KEY) as file:
            assert file.read(MIB) == DATA[:MIB]
            wire.hang()
            with pytest.raises(StorageFailed, match="does not answer in time"):
                file.read()

    def test_another_file_written_in_its_place_is_never_taken_for_it(self, by_wire, wire):
        put(by_wire, KEY, DATA)
        with by_wire.open(KEY) as file:
            assert file.read(MIB) == DATA[:MIB]
            put(by_wire, KEY, DATA[::-1])
            wire.cut_after(0, times=1)
            with pytest.raises(StorageFailed):
                file.read()


class Refusing(BaseHTTPRequestHandler):
    """A store that answers every request with the same error."""

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
        """No line for each request."""


@pytest.fixture
def refusing(s3) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class TestRefusal:
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
    def test_it_is_told_in_words_that_give_no_secret_away(self, refusing, answer, sentence):
        refusing.answer = answer
        questions = asking(impatient(f"http://127.0.0.1:{refusing.server_port}"))
        for use in [one for place, one in enumerate(questions) if place != SIZE]:
            with pytest.raises(StorageFailed) as caught:
                use()
            assert sentence in str(caught.value)
            assert not any(word in str(caught.value) for word in ("AKIA", "127.0.0.1", KEY, *CREDENTIALS.values()))

    def test_a_size_that_is_refused_is_not_taken_for_a_missing_file(self, refusing):
        refusing.answer = (403, "AccessDenied")
        with pytest.raises(StorageFailed, match=r"denies access to the bucket tally \(403\)"):
            impatient(f"http://127.0.0.1:{refusing.server_port}").size(KEY)

    def test_an_upload_that_is_refused_leaves_nothing(self, refusing):
        refusing.answer = (403, "AccessDenied")
        storage = impatient(f"http://127.0.0.1:{refusing.server_port}")
        for data in (b"little", DATA):
            broken = storage.create(KEY)
            with pytest.raises(StorageFailed, match="denies access"):
                broken.write(data)
                broken.commit()
            broken.abort()

    def test_missing_credentials_are_told(self, s3, monkeypatch, tmp_path):
        for name in CREDENTIALS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(
            StorageFailed, match=r"^There are no credentials for the S3 store\. Set AWS_ACCESS_KEY_ID and"
        ):
            put(open_storage(s3.url, s3.endpoint), KEY)

    def test_a_bucket_that_is_not_there_is_told(self, s3):
        with pytest.raises(StorageFailed, match=r"^The S3 store has no bucket nowhere\.$"):
            put(open_storage("s3://nowhere/reports", s3.endpoint), KEY)

    def test_an_address_where_nobody_is_takes_no_longer_than_a_person_waits(self, s3):
        storage = open_storage(s3.url, f"http://127.0.0.1:{free_port()}")
        began = time.monotonic()
        with pytest.raises(StorageFailed, match="cannot be reached"):
            storage.size(KEY)
        assert time.monotonic() - began < slack(5)
