"""A delivery to another owner's bucket has exactly the requested name and touches nothing else."""

from __future__ import annotations

from urllib.request import urlopen

import pytest

from app.exceptions import StorageFailed
from app.storage import is_in_storage, open_bucket
from app.storage.s3 import S3Bucket, Store
from tests.storage.test_every_storage import KEY, MIB, content
from tests.storage.test_s3_files import QUICK
from tests.support.s3 import DELIVERED
from tests.support.wire import Wire

NAME = "2026/november/PORTFOLIO.csv"


@pytest.fixture
def bucket(s3):
    return open_bucket(DELIVERED, s3.endpoint)


def deliver(bucket, name: str, data: bytes, media_type: str | None = None) -> None:
    upload = bucket.create(name, media_type)
    upload.write(data)
    upload.commit()


NAMES = [
    NAME, "a", "ä/ö ü+%2F&?#=.csv", "a//b", "😀.csv", "x" * 1024, "ä" * 512, KEY, ".hidden", "a b ", "~'()*!",
]  # fmt: skip


def test_a_file_has_exactly_the_requested_name(s3, bucket):
    for name in NAMES:
        deliver(bucket, name, name.encode())
    deliver(bucket, "ä/large +.csv", bytes(9 * MIB))
    assert s3.objects(DELIVERED) == {name: name.encode() for name in NAMES} | {"ä/large +.csv": bytes(9 * MIB)}


@pytest.mark.parametrize("size", [3, 9 * MIB])
def test_a_file_has_its_media_type(s3, bucket, size):
    deliver(bucket, NAME, bytes(size), "application/vnd.apache.parquet")
    metadata = s3.client.head_object(Bucket=DELIVERED, Key=NAME)
    assert metadata["ContentType"] == "application/vnd.apache.parquet"


@pytest.mark.parametrize("size", [3, 9 * MIB])
def test_an_existing_file_is_replaced_only_when_the_new_file_is_complete(s3, bucket, size):
    deliver(bucket, NAME, b"yesterday's")
    aborted = bucket.create(NAME)
    aborted.write(bytes(size))
    aborted.abort()
    upload = bucket.create(NAME)
    upload.write(bytes(size))
    assert s3.objects(DELIVERED) == {NAME: b"yesterday's"}
    upload.commit()
    assert s3.objects(DELIVERED) == {NAME: bytes(size)}
    assert s3.unfinished(DELIVERED) == []


def test_only_unfinished_uploads_of_the_same_name_are_removed(s3, bucket):
    deliver(bucket, NAME, b"yesterday's")
    other = s3.client.create_multipart_upload(Bucket=DELIVERED, Key=f"{NAME}.gz")["Key"]
    unfinished = bucket.create(NAME)
    unfinished.write(bytes(9 * MIB))
    unfinished.wait_for(0)
    assert sorted(s3.unfinished(DELIVERED)) == [NAME, other]
    bucket.discard(NAME)
    assert s3.unfinished(DELIVERED) == [other]
    assert s3.objects(DELIVERED) == {NAME: b"yesterday's"}
    assert list(bucket.contents()) == []


def test_a_delivered_file_can_be_read_and_linked(s3, bucket):
    assert (bucket.size(NAME), bucket.path(NAME)) == (None, None)
    deliver(bucket, NAME, b"the report")
    assert (bucket.size(NAME), content(bucket, NAME)) == (10, b"the report")
    with urlopen(bucket.link(NAME, "PORTFOLIO.csv", "text/csv", 60)) as answer:
        assert answer.read() == b"the report"


def test_an_abort_after_an_unanswered_commit_removes_no_file(s3):
    wire = Wire(s3.endpoint)
    bucket = S3Bucket(Store(wire.url, work=QUICK, ask=QUICK), DELIVERED)
    upload = bucket.create(NAME)
    upload.write(b"new")
    wire.lose_answers()
    with pytest.raises(StorageFailed):
        upload.commit()
    wire.restore()
    upload.abort()
    assert s3.objects(DELIVERED) == {NAME: b"new"}
    wire.close()


def test_a_missing_bucket_is_reported(s3):
    with pytest.raises(StorageFailed, match=r"^The S3 store has no bucket nowhere\.$"):
        deliver(open_bucket("nowhere", s3.endpoint), NAME, b"data")


@pytest.mark.parametrize(
    ("url", "bucket", "name", "expected"),
    [
        ("s3://tally/reports", "tally", f"reports/{KEY}", True),
        ("s3://tally/reports/", "tally", f"reports/{KEY}", True),
        ("s3://tally", "tally", KEY, True),
        ("s3://tally/a%20b", "tally", f"a b/{KEY}", True),
        ("s3://tally/reports", "tally", KEY, True),
        ("s3://tally/reports", "tally", "reports/november.csv", False),
        ("s3://tally/reports", "tally", f"elsewhere/{KEY}", False),
        ("s3://tally", "tally", f"reports/{KEY}", False),
        ("s3://tally/reports", "other", f"reports/{KEY}", False),
        ("file:///srv/reports", "tally", f"reports/{KEY}", False),
    ],
)
def test_objects_of_the_storage_are_recognised(url, bucket, name, expected):
    assert is_in_storage(url, bucket, name) is expected
