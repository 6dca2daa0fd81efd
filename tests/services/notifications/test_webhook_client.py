"""The webhook client: one POST to a server of unknown behavior, within a time limit."""

from __future__ import annotations

import ssl
import time

import pytest
import trustme

from app.exceptions import WebhookFailed
from app.services.notifications import webhook_client
from app.support import http_client
from app.support.url_origin import split
from tests.support.pace import slack
from tests.support.receivers import babble, flood, hang, listener, receiver, trickle


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch) -> None:
    monkeypatch.setattr(webhook_client, "TIMEOUT_SECONDS", 0.4)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that the client does not trust by default."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1")


def post(url: str) -> webhook_client.Response:
    origin, path = split(url)
    return webhook_client.post(origin, path, b'{"a": 1}', {"Content-Type": "application/json", "X-Mark": "one"})


def test_a_request_arrives_and_its_response_is_returned():
    with receiver() as endpoint:
        assert post(f"{endpoint.url}/in?x=1") == webhook_client.Response(200, "thank you")
    (request,) = endpoint.got
    assert (request.path, request.body, request.headers["X-Mark"]) == ("/in?x=1", b'{"a": 1}', "one")
    assert request.headers["Host"] == endpoint.url.removeprefix("http://")


@pytest.mark.parametrize("status", [204, 301, 404, 500])
def test_any_status_is_a_response(status):
    with receiver() as endpoint:
        endpoint.answers.append((status, {"Content-Length": "0"}, b""))
        assert post(endpoint.url).status == status


def test_a_redirect_is_not_followed():
    with receiver() as target, receiver() as endpoint:
        endpoint.answers.append((307, {"Location": target.url}, b"over there"))
        assert post(endpoint.url) == webhook_client.Response(307, "over there")
    assert target.got == []


def test_a_proxy_in_the_environment_is_ignored(monkeypatch):
    with receiver() as proxy, receiver() as endpoint:
        monkeypatch.setenv("http_proxy", proxy.url)
        post(endpoint.url)
    assert (len(proxy.got), len(endpoint.got)) == (0, 1)


@pytest.mark.parametrize("behave", [hang, trickle], ids=["says nothing", "trickles"])
def test_a_server_that_never_completes_its_response_times_out(behave):
    with listener(behave) as url:
        began = time.monotonic()
        with pytest.raises(WebhookFailed, match="did not answer within 0.4 seconds"):
            post(url)
        assert time.monotonic() - began < slack(2)


def test_only_the_beginning_of_an_endless_response_is_read():
    with listener(flood) as url:
        answer = post(url)
    assert (answer.status, len(answer.text)) == (200, webhook_client.MAX_RESPONSE_BYTES)


def test_an_incomplete_body_does_not_affect_the_status():
    def send_half(connection) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")
        hang(connection)

    with listener(send_half) as url:
        assert post(url).status == 202


@pytest.mark.parametrize(("final", "status"), [("200 OK", 200), ("500 No", 500), ("101 Switching Protocols", 101)])
def test_interim_responses_are_skipped(final, status):
    def respond(connection) -> None:
        connection.recv(4096)
        interim = (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        )
        connection.sendall(f"{interim}HTTP/1.1 {final}\r\nContent-Length: 4\r\n\r\nwell".encode())

    with listener(respond) as url:
        assert post(url).status == status


def test_endless_interim_responses_time_out():
    def send_interim_responses(connection) -> None:
        connection.recv(4096)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    with (
        listener(send_interim_responses) as url,
        pytest.raises(WebhookFailed, match="did not answer within 0.4 seconds"),
    ):
        post(url)


def test_a_response_that_is_not_http_raises_an_error():
    with listener(babble) as url, pytest.raises(WebhookFailed, match="did not answer in HTTP: BadStatusLine"):
        post(url)


def test_a_refused_connection_raises_an_error():
    with listener(hang) as url:
        pass
    with pytest.raises(WebhookFailed, match="cannot be reached: Connection refused"):
        post(url)


def test_a_host_that_cannot_be_resolved_raises_an_error():
    with pytest.raises(WebhookFailed, match=r"The host nowhere\.invalid cannot be found"):
        post("http://nowhere.invalid/")


def test_an_untrusted_certificate_is_rejected(certificate):
    with (
        receiver(certificate) as endpoint,
        pytest.raises(WebhookFailed, match="certificate of https.*not to be trusted"),
    ):
        post(endpoint.url)
    assert endpoint.got == []


def test_a_request_over_tls_arrives(authority, certificate, monkeypatch):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setattr(http_client, "trust", lambda: context)
    monkeypatch.setattr(webhook_client, "TIMEOUT_SECONDS", 5)
    with receiver(certificate) as endpoint:
        assert post(endpoint.url).status == 200
    assert endpoint.got[0].body == b'{"a": 1}'


def test_a_server_without_a_tls_handshake_times_out():
    with listener(hang) as url, pytest.raises(WebhookFailed, match="did not answer within 0.4 seconds"):
        post(url.replace("http", "https", 1))
