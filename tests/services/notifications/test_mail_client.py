"""Mail client: what it sends to servers that accept, refuse, hang, need a password, or speak TLS."""

from __future__ import annotations

import ssl
import threading
from email.message import EmailMessage
from functools import partial

import pytest
import trustme

from app.exceptions import MailFailed
from app.services.notifications import mail_client
from app.services.notifications.mail_client import MailServer
from tests.support.mail import mail_server
from tests.support.receivers import hang, listener

# aiosmtpd warns that its passwords need no TLS here
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
TO, FROM = "anna@example.com", "Tally <tally@example.com>"
USERS = {"tally@example.com": "pass@word"}
LOG_IN = "tally%40example.com:pass%40word@"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch) -> None:
    def trust() -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    monkeypatch.setattr(mail_client, "trust", trust)


def with_user(url: str) -> str:
    return url.replace("://", f"://{LOG_IN}")


def send(url: str) -> str:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = FROM, TO, "A test"
    message.set_content("Arrives: “ä”.\n")
    return MailServer(url, FROM).send(message, TO)


def test_a_message_arrives_with_its_headers_and_text():
    with mail_server() as server:
        send(server.url)
    (message,) = server.got
    assert (message["From"], message["To"], message["Subject"]) == (FROM, TO, "A test")
    assert message.get_content() == "Arrives: “ä”.\r\n"
    assert server.to == [[TO]]
    assert server.was_encrypted == [False]


@pytest.mark.parametrize("from_start", [False, True], ids=["starttls", "smtps"])
def test_a_password_is_sent_over_tls(trusted, tls, from_start):
    with mail_server(tls=tls, from_start=from_start, users=USERS) as server:
        send(with_user(server.url))
    assert server.was_encrypted == [True]


@pytest.mark.parametrize("from_start", [False, True], ids=["starttls", "smtps"])
def test_a_certificate_that_is_not_trusted_is_refused_before_anything_is_sent(tls, from_start):
    untrusted = pytest.raises(MailFailed, match="certificate of 127.0.0.1:.* is not to be trusted")
    with mail_server(tls=tls, from_start=from_start, users=USERS) as server, untrusted:
        send(with_user(server.url))
    assert server.got == []


def test_a_password_is_sent_without_tls_to_this_machine_only(monkeypatch):
    with mail_server(users=USERS) as server:
        send(with_user(server.url))
        monkeypatch.setattr(mail_client, "is_this_machine", lambda host: False)
        with pytest.raises(MailFailed, match="offers no STARTTLS, so the password was not sent"):
            send(with_user(server.url))
    assert len(server.got) == 1


@pytest.mark.parametrize(
    ("host", "is_this"), [("localhost", True), ("127.0.0.1", True), ("::1", True), ("mail.example", False)]
)
def test_this_machine_is_known_by_its_loopback_names(host, is_this):
    assert mail_client.is_this_machine(host) is is_this


def test_a_wrong_password_is_a_failure_that_may_pass_and_is_not_in_the_message():
    with mail_server(users={"tally@example.com": "another"}) as server, pytest.raises(MailFailed) as error:
        send(with_user(server.url))
    assert "refused the user or password" in str(error.value)
    assert "pass@word" not in str(error.value)
    assert (error.value.code, error.value.is_permanent) == (535, False)


def test_a_server_that_needs_a_password_refuses_a_message_without_one():
    with mail_server(users=USERS) as server, pytest.raises(MailFailed, match="refused the message") as error:
        send(server.url)
    assert error.value.code == 530


@pytest.mark.parametrize(("answer", "is_permanent"), [("550 No such user", True), ("451 Try later", False)])
def test_a_refused_recipient_is_permanent_or_not_by_its_code(answer, is_permanent):
    with mail_server() as server:
        server.answers.append(answer)
        with pytest.raises(MailFailed, match=f"refused the recipient: {answer[4:]}") as error:
            send(server.url)
    assert (error.value.code, error.value.is_permanent) == (int(answer[:3]), is_permanent)
    assert server.got == []


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_silent_server_times_out(monkeypatch, scheme):
    monkeypatch.setattr(mail_client, "TIMEOUT_SECONDS", 0.3)
    with listener(hang) as url, pytest.raises(MailFailed, match="did not answer within 0.3 seconds"):
        send(url.replace("http", scheme))


def test_a_silent_server_times_out_although_the_timer_is_late(monkeypatch):
    monkeypatch.setattr(mail_client, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(mail_client.threading, "Timer", partial(late_timer, threading.Timer))
    with listener(hang) as url, pytest.raises(MailFailed, match="did not answer within 0.3 seconds"):
        send(url.replace("http", "smtp"))


def late_timer(timer, seconds: float, function) -> threading.Timer:
    """Return a timer that fires late, as on a busy machine."""
    return timer(seconds + 0.3, function)


def test_a_server_that_sends_single_bytes_is_left_after_the_whole_time(monkeypatch):
    monkeypatch.setattr(mail_client, "TIMEOUT_SECONDS", 0.3)
    with listener(trickle_greeting) as url, pytest.raises(MailFailed, match="did not answer within 0.3 seconds"):
        send(url.replace("http", "smtp"))


def trickle_greeting(connection) -> None:
    """Send an endless greeting, each byte within any socket time-out."""
    connection.sendall(b"220-")
    while True:
        connection.sendall(b"x\r\n220-")
        mail_client.threading.Event().wait(0.05)


def test_a_server_that_is_away_or_no_mail_server_is_a_failure():
    with listener(babble_http) as url, pytest.raises(MailFailed, match="did not answer as a mail server does"):
        send(url.replace("http", "smtp"))
    with pytest.raises(MailFailed, match="127.0.0.1:1 cannot be reached: Connection refused"):
        send("smtp://127.0.0.1:1")
    with pytest.raises(MailFailed, match="SMTP_URL is not set"):
        send("")


def babble_http(connection) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
