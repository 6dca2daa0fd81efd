"""A delivered report's link gives the file that was delivered, never what stands under its key by now."""

from __future__ import annotations

from urllib.request import urlopen

import pytest

from app.exceptions import FileMissing
from app.services.people.principal import SYSTEM
from app.storage import LocalStorage
from app.store.models import Report
from tests.support.client import event, faults
from tests.support.s3 import DELIVERED, STORAGE

DATABASE = "sqlite"  # one of them: which database keeps the ETag plays no part

KEY = "exports/november.csv"
OUTPUT = {"bucketName": DELIVERED, "bucketKey": KEY}
MIB = 1024 * 1024


@pytest.fixture
def deliver(s3, admin, services):
    """Deliver a report of a customer's to the one key; its source."""

    def run(customer: str, context: list[str], output: dict | None = None) -> str:
        admin.send(event(customer=customer, context=context))
        job = admin.start_report({**OUTPUT, **(output or {})}, customer=customer)
        services.runner.run(job["job"])
        assert admin.availability(job["source"])["status"] == "COMPLETE"
        return job["source"]

    return run


def link(client, source: str):
    return client.get(f"/reports/{source}", headers={"Accept": "application/json"})


def content(client, source: str) -> bytes:
    """What a client gets that follows the link."""
    answer = client.get(link(client, source).get_json()["link"])
    assert answer.status_code == 302
    with urlopen(answer.headers["Location"]) as file:
        return file.read()


def is_gone(client, source: str) -> bool:
    answer = link(client, source)
    return answer.status_code == 410 and faults(answer) == [] and "another took its place" in answer.text


@pytest.mark.parametrize("large", [False, True], ids=["in one request", "in parts"])
def test_of_two_reports_under_one_key_only_the_later_has_its_file(s3, admin, services, deliver, large):
    context = ["x" * 4096] * 100 if large else ["x"]
    if large:
        for name in ("BARCHART", "OTHER"):
            admin.send(*[event(customer=name, context=context) for _ in range(22)])
    first = deliver("BARCHART", context)
    assert content(admin, first) == s3.objects(DELIVERED)[KEY]
    given = link(admin, first).get_json()["link"]
    second = deliver("OTHER", ["y", *context[1:]])
    assert content(admin, second) == s3.objects(DELIVERED)[KEY]
    assert is_gone(admin, first)
    assert admin.get(given).status_code == 410
    for source, name in ((first, "BARCHART"), (second, "OTHER")):  # as between the two looks of whoever reads it
        report = Report.get(Report.customer == name)
        storage = services.reports.destinations.place(report)
        if source == second:
            assert storage.open(KEY, etag=report.etag).read() == s3.objects(DELIVERED)[KEY]
        else:
            with pytest.raises(FileMissing, match="replaced by another"):
                storage.open(KEY, etag=report.etag)


def test_whatever_else_stands_there_by_now_is_not_given(s3, admin, deliver):
    source = deliver("BARCHART", ["x"])
    ours = s3.objects(DELIVERED)[KEY]
    s3.client.put_object(Bucket=DELIVERED, Key=KEY, Body=bytes(len(ours)))
    assert is_gone(admin, source)
    s3.client.delete_object(Bucket=DELIVERED, Key=KEY)
    assert is_gone(admin, source)
    s3.client.put_object(Bucket=DELIVERED, Key=KEY, Body=ours)
    assert content(admin, source) == ours


def test_where_nobody_noted_what_was_delivered_nothing_is_given(admin, deliver):
    source = deliver("BARCHART", ["x"])
    Report.update(etag=None).execute()
    assert is_gone(admin, source)


def test_of_a_bucket_with_versions_the_link_leads_to_the_one_that_was_delivered(s3, admin, deliver):
    s3.client.put_bucket_versioning(Bucket=DELIVERED, VersioningConfiguration={"Status": "Enabled"})
    source = deliver("BARCHART", ["x"])
    ours = s3.objects(DELIVERED)[KEY]
    address = admin.get(link(admin, source).get_json()["link"]).headers["Location"]
    s3.client.put_object(Bucket=DELIVERED, Key=KEY, Body=b"another customer's")
    with urlopen(address) as file:
        assert file.read() == ours
    assert is_gone(admin, source)


def test_deleting_a_report_leaves_alone_what_stands_or_grows_under_its_key(s3, admin, deliver):
    first = deliver("BARCHART", ["x"])
    second = deliver("OTHER", ["y"])
    s3.client.create_multipart_upload(Bucket=DELIVERED, Key=KEY)  # of a third one, on its way
    assert admin.request("DELETE", f"/reports/{first}").status_code == 204
    assert s3.unfinished(DELIVERED) == [KEY]
    assert content(admin, second) == s3.objects(DELIVERED)[KEY]


def test_in_the_service_s_own_bucket_a_file_that_was_replaced_is_not_given_either(s3, admin, services):
    admin.send(event())
    job = admin.start_report()
    services.runner.run(job["job"])
    assert link(admin, job["source"]).status_code == 200
    [name] = s3.objects(STORAGE)
    s3.client.put_object(Bucket=STORAGE, Key=name, Body=b"x" * len(s3.objects(STORAGE)[name]))
    assert is_gone(admin, job["source"])


def test_a_file_that_goes_between_two_looks_is_gone_and_no_fault(admin, services, monkeypatch):
    admin.send(event())
    job, _ = admin.run_report()
    given = link(admin, job["source"]).get_json()["link"]
    monkeypatch.setattr(LocalStorage, "path", lambda storage, key: None)
    monkeypatch.setattr(type(services.reports.destinations), "has", lambda destinations, report: True)
    assert admin.get(given).status_code == 410


def test_a_file_on_disk_that_is_not_the_one_that_was_written_is_gone(admin, services):
    admin.send(event())
    job, _ = admin.run_report()
    path = services.reports.path(services.reports.get(SYSTEM, job["source"]))
    path.write_bytes(b"short")
    assert is_gone(admin, job["source"])
