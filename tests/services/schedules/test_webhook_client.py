"""One POST to a server that is not ours, whatever that server does with it."""

from __future__ import annotations

import ssl
import time

import pytest
import trustme

from app.exceptions import WebhookFailed
from app.services.schedules import webhook_client
from app.support.url_origin import split
from tests.support.pace import slack
from tests.support.receivers import babble, flood, hang, listener, receiver, trickle


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(webhook_client, "TIMEOUT_SECONDS", 0.4)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Somebody whom nobody trusts, and who vouches for servers."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1")


def post(url: str) -> webhook_client.Response:
    origin, asked = split(url)
    return webhook_client.post(origin, asked, b'{"a": 1}', {"Content-Type": "application/json", "X-Mark": "one"})


def test_what_is_sent_arrives_and_the_answer_comes_back():
    with receiver() as there:
        assert post(f"{there.url}/in?x=1") == webhook_client.Response(200, "thank you")
    (got,) = there.got
    assert (got.path, got.body, got.headers["X-Mark"]) == ("/in?x=1", b'{"a": 1}', "one")
    assert got.headers["Host"] == there.url.removeprefix("http://")


@pytest.mark.parametrize("status", [204, 301, 404, 500])
def test_a_status_is_an_answer_whatever_it_is(status):
    with receiver() as there:
        there.answers.append((status, {"Content-Length": "0"}, b""))
        assert post(there.url).status == status


def test_a_redirect_is_not_followed():
    with receiver() as elsewhere, receiver() as there:
        there.answers.append((307, {"Location": elsewhere.url}, b"over there"))
        assert post(there.url) == webhook_client.Response(307, "over there")
    assert elsewhere.got == []


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    with receiver() as proxy, receiver() as there:
        monkeypatch.setenv("http_proxy", proxy.url)
        post(there.url)
    assert (len(proxy.got), len(there.got)) == (0, 1)


@pytest.mark.parametrize("behave", [hang, trickle], ids=["says nothing", "trickles"])
def test_a_server_that_does_not_come_to_an_end_is_left(behave):
    with listener(behave) as url:
        begun = time.monotonic()
        with pytest.raises(WebhookFailed, match="did not answer within 0.4 seconds"):
            post(url)
        assert time.monotonic() - begun < slack(2)


def test_of_an_answer_without_an_end_only_the_beginning_is_read():
    with listener(flood) as url:
        answer = post(url)
    assert (answer.status, len(answer.text)) == (200, webhook_client.MAX_RESPONSE_BYTES)


def test_a_body_that_never_comes_takes_nothing_from_the_status():
    def promise(connection) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")
        hang(connection)

    with listener(promise) as url:
        assert post(url).status == 202


@pytest.mark.parametrize(("final", "status"), [("200 OK", 200), ("500 No", 500), ("101 Switching Protocols", 101)])
def test_what_comes_before_the_answer_is_not_taken_for_it(final, status):
    def announce(connection) -> None:
        connection.recv(4096)
        early = (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        )
        connection.sendall(f"{early}HTTP/1.1 {final}\r\nContent-Length: 4\r\n\r\nwell".encode())

    with listener(announce) as url:
        assert post(url).status == status


def test_an_answer_that_is_announced_without_end_is_left():
    def announce(connection) -> None:
        connection.recv(4096)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    with listener(announce) as url, pytest.raises(WebhookFailed, match="did not answer within 0.4 seconds"):
        post(url)


def test_what_is_no_http_is_told():
    with listener(babble) as url, pytest.raises(WebhookFailed, match="did not answer in HTTP: BadStatusLine"):
        post(url)


def test_nobody_there_is_told():
    with listener(hang) as url:
        pass
    with pytest.raises(WebhookFailed, match="cannot be reached: Connection refused"):
        post(url)


def test_a_host_without_an_address_is_told():
    with pytest.raises(WebhookFailed, match=r"The host nowhere\.invalid cannot be found"):
        post("http://nowhere.invalid/")


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(certificate):
    with receiver(certificate) as there, pytest.raises(WebhookFailed, match="certificate of https.*not to be trusted"):
        post(there.url)
    assert there.got == []


def test_over_tls_it_arrives_as_well(authority, certificate, monkeypatch):
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(webhook_client, "_trust", lambda: trusting)
    monkeypatch.setattr(webhook_client, "TIMEOUT_SECONDS", 5)
    with receiver(certificate) as there:
        assert post(there.url).status == 200
    assert there.got[0].body == b'{"a": 1}'


def test_a_server_that_does_not_greet_over_tls_is_left():
    with listener(hang) as url, pytest.raises(WebhookFailed, match="did not answer within 0.4 seconds"):
        post(url.replace("http", "https", 1))


def test_the_signature_is_over_the_time_and_the_body():
    # printf '1793000000.{}' | openssl dgst -sha256 -hmac secret
    by_hand = "72bcb9263ef5a5cf35a95d7522e713ec8bdb29b64b70bccb15d42b68d3b57099"
    assert webhook_client.signature("secret", 1_793_000_000, b"{}") == f"t=1793000000,v1={by_hand}"
