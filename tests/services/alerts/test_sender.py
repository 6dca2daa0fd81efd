"""Messages by Apprise: they arrive, and nothing reaches a server that the operator has not listed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
import trustme

from app.config import Settings
from app.exceptions import SettingInvalid
from app.services.alerts import apprise_process, sender
from app.services.alerts.sender import Message, Sender, Target, mask
from app.services.notifications.sending import Outcome
from tests.support.mail import mail_server
from tests.support.pace import slack
from tests.support.receivers import listener, receiver, trickle

MESSAGE = Message("PORTFOLIO stopped", "No event for 20 minutes.\nNormal: 5 per minute.", "failure", "rule 1")
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def send(url: str, *hosts: str, seconds: int = 30) -> Outcome:
    return Sender(Settings(alert_hosts=hosts)).send(Target(url=url), MESSAGE, seconds)


def as_json_url(url: str, path: str) -> str:
    """Return the Apprise URL of a webhook on a server."""
    return url.replace("http", "json", 1) + path


@pytest.fixture(scope="module")
def endpoint():
    with receiver() as running:
        yield running


def test_a_message_arrives_and_the_response_comes_back_without_the_secrets_of_the_url(endpoint):
    endpoint.answers = [(200, {}, b"stored for s3cr3t")]
    outcome = send(as_json_url(endpoint.url, "/hooks/s3cr3t?verify=no"), endpoint.url)
    assert outcome == Outcome(None, f"{endpoint.url} answered 200. stored for …", is_good=True)
    received = json.loads(endpoint.got.pop().body)
    assert (received["title"], received["message"], received["type"]) == (MESSAGE.title, MESSAGE.body, "failure")


def test_a_refused_message_is_not_sent(endpoint):
    endpoint.answers = [(403, {}, b"no_service")]
    outcome = send(as_json_url(endpoint.url, "/hooks/a"), endpoint.url)
    assert outcome == Outcome(None, f"{endpoint.url} answered 403. no_service")


def test_a_redirect_is_not_followed(endpoint):
    with receiver() as elsewhere:
        endpoint.answers = [(307, {"Location": elsewhere.url}, b"over there")]
        outcome = send(as_json_url(endpoint.url, "/a?redirect=yes"), endpoint.url, elsewhere.url)
    assert outcome == Outcome(None, f"{endpoint.url} answered 307. over there")
    assert elsewhere.got == []


def test_a_server_cannot_direct_a_plugin_to_another_server(monkeypatch, tmp_path):
    """A Matrix server names the address to call in a document, which Apprise follows."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    with receiver(certificate) as elsewhere, receiver(certificate) as hostile:
        stolen = elsewhere.url.replace("127.0.0.1", "localhost")
        address = {"m.homeserver": {"base_url": stolen}}
        hostile.documents["/.well-known/matrix/client"] = json.dumps(address).encode()
        host = urlsplit(hostile.url).netloc
        outcome = send(f"matrixs://secretToken@{host}/!room:{host}", hostile.url)
    server = stolen.removeprefix("https://")
    assert outcome == Outcome(
        None, f"The channel calls {server}, which ALERT_HOSTS does not allow; it allows {hostile.url}."
    )
    assert elsewhere.got == []


def test_a_server_that_trickles_is_cut_off():
    with listener(trickle) as url:
        began = time.monotonic()
        outcome = send(as_json_url(url, "/a"), url, seconds=3)
        assert time.monotonic() - began < slack(6)
    assert outcome == Outcome(None, "There was no answer within 3 seconds.")


def test_a_local_file_cannot_be_named_as_a_template(tmp_path):
    (tmp_path / "card.json").write_text('{"text": "private"}')
    outcome = send(f"{SLACK}/?template={tmp_path}/card.json", "hooks.slack.com")
    assert not outcome.is_good
    assert "could not be read" in outcome.said


PROBES = {
    "a connection to an address": "socket.create_connection(('127.0.0.1', {other}))",
    "a connection without a look-up": "socket.socket().connect(('127.0.0.1', {other}))",
    "a Unix socket": "socket.socket(socket.AF_UNIX).connect('/tmp/none.sock')",
    "a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {other}))",
    "a server socket": "socket.socket().bind(('127.0.0.1', 0))",
    "a program": "subprocess.run(['true'])",
    "a shell": "os.system('true')",
    "a local file": "open('/etc/passwd')",
    "a new file": "open('new.txt', 'w')",
    "removing a file": "os.remove('new.txt')",
}


def test_the_process_has_no_way_out_but_the_permitted_servers(endpoint):
    with receiver() as other:
        ports = {"port": urlsplit(endpoint.url).port, "other": urlsplit(other.url).port}
        lines = [f"('{name}', lambda: {code.format(**ports)})" for name, code in PROBES.items()]
        program = f"""
import os, socket, subprocess, sys
sys.path.insert(0, {str(apprise_process.__file__.rpartition("/")[0])!r})
import apprise_process
apprise_process.Guard([('127.0.0.1', {ports["port"]})]).install()
socket.create_connection(('127.0.0.1', {ports["port"]})).close()
for name, probe in [{", ".join(lines)}]:
    try:
        probe()
    except OSError as error:
        if 'permitted' in str(error) or 'may not' in str(error):
            continue
    print(name)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


def with_user(url: str, password: str = "hush-hush") -> str:
    return url.replace("//", f"//tally:{password}@")


def test_mail_arrives_as_text(monkeypatch):
    with mail_server(users={"tally": "hush-hush"}) as box:
        mail = Sender(Settings(smtp_url=with_user(box.url), mail_from="Watch <tally@mail.example>"))
        outcome = mail.send(Target(("ops@mail.example", "on-call@mail.example")), MESSAGE)
    assert outcome == Outcome(None, "The mail server accepted the message.", is_good=True)
    assert sorted(message["To"] for message in box.got) == ["on-call@mail.example", "ops@mail.example"]
    message = box.got[0]
    assert (message["Subject"], message["From"]) == (MESSAGE.title, "Watch <tally@mail.example>")
    assert message.get_body(("plain",)).get_content().splitlines() == MESSAGE.body.splitlines()


def test_apostrophes_in_addresses_and_in_the_name_of_the_sender_are_kept():
    with mail_server() as box:
        mail = Sender(Settings(smtp_url=box.url, mail_from="O'Neill's Tally <o'neill@mail.example>"))
        outcome = mail.send(Target(("o'brien@mail.example",)), MESSAGE)
    assert outcome.is_good, outcome.said
    [message] = box.got
    assert (message["From"], message["To"]) == ("O'Neill's Tally <o'neill@mail.example>", "o'brien@mail.example")
    assert box.to == [["o'brien@mail.example"]]


def test_a_refusal_by_the_mail_server_is_shown_without_the_password():
    with mail_server(users={"tally": "hush-hush"}) as box:
        mail = Sender(Settings(smtp_url=with_user(box.url, "other-word"), mail_from="tally@mail.example"))
        outcome = mail.send(Target(("ops@mail.example",)), MESSAGE)
    assert not outcome.is_good
    assert "535" in outcome.said
    assert "other-word" not in outcome.said


def test_a_password_is_not_sent_to_another_machine_without_encryption():
    with mail_server(users={"tally": "hush-hush"}) as box:
        mail = Sender(
            Settings(smtp_url=with_user(box.url).replace("127.0.0.1", "0.0.0.0"), mail_from="tally@mail.example")
        )
        outcome = mail.send(Target(("ops@mail.example",)), MESSAGE)
    assert (outcome.is_good, box.got) == (False, [])
    assert "STARTTLS" in outcome.said


# A URL for each service of docs/alerts.md, and the host that it calls.
EXAMPLES = {
    SLACK: "hooks.slack.com",
    "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ": "hooks.slack.com",
    "workflows://prod-1.westeurope.logic.azure.com:443/643e69f83c8944/sigXeItGa1xfG7nfDGb34/": (
        "prod-1.westeurope.logic.azure.com"
    ),
    "matrixs://syt_token@matrix.example.com/!room:example.com": "matrix.example.com",
    "pagerduty://integrationkey@apikey": "events.pagerduty.com",
    "pagerduty://integrationkey@apikey?region=eu": "events.eu.pagerduty.com",
    "jsons://user:password@hooks.example.com/alerts": "hooks.example.com",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js": "discord.com",
    "gchat://workspace/key/token": "chat.googleapis.com",
    "mmosts://chat.example.com/3ccdd113474722377935511fc85d3dd4": "chat.example.com",
    "ntfys://ntfy.example.com/alerts": "ntfy.example.com",
    "tgram://123456789:alphanumeric-token_abcdefg/12315544/": "api.telegram.org",
}


@pytest.fixture
def in_process(monkeypatch):
    """Run the program of a message in this process, without its guard, and fail each request."""
    requests = __import__("requests")

    def refuse(session: object, request, **kwargs: object) -> None:
        hosts.append((urlsplit(request.url).hostname, urlsplit(request.url).port or 443))
        raise requests.ConnectionError

    def run(self: Sender, target: Target, *args: object) -> dict:
        plugin = apprise_process._plugin({"link": "", "mail": None, "url": target.url, "key": "rule 1"})
        hosts.clear()
        if plugin is not None:
            plugin.notify(body="Test", title="Test", notify_type="info")
        return {"refused": list(hosts)}

    hosts: list[tuple[str, int]] = []
    monkeypatch.setattr(requests.Session, "send", refuse)
    monkeypatch.setattr(Sender, "_run", run)


@pytest.mark.parametrize(("url", "host"), EXAMPLES.items())
def test_the_server_of_each_service_must_be_listed(in_process, url, host):
    target = Target(url=url)
    assert Sender(Settings(alert_hosts=(host,))).check(target) is None
    problem = Sender(Settings(alert_hosts=("a.example",))).check(target)
    assert problem == f"calls {host}, which ALERT_HOSTS does not allow; it allows https://a.example"


@pytest.mark.parametrize(
    "url",
    ["mailto://user:pass@example.com", "file:///etc/passwd", "dbus://", "slack://", "https://a.example/x", "hello"],
)
def test_another_url_is_not_accepted(in_process, url):
    assert "see the examples" in Sender(Settings(alert_hosts=("a.example",))).check(Target(url=url))


def test_a_url_is_shown_without_its_secrets():
    assert mask(Target(url=SLACK)) == "slack://…"
    assert mask(Target(url="jsons://user:password@hooks.example.com:8443/secret?key=secret")) == (
        "jsons://hooks.example.com/…"
    )
    assert mask(Target(("a@mail.example", "b@mail.example"))) == "a@mail.example, b@mail.example"


def test_mail_needs_its_settings():
    assert Sender(Settings()).check(Target(("ops@mail.example",))) == ("cannot be reached: set SMTP_URL first")


def test_without_apprise_the_start_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sender, "_is_installed", lambda: False)
    with pytest.raises(SettingInvalid, match=r"ALERT_HOSTS: .* Install the extra: tally-events\[alerts\]"):
        Sender(Settings(alert_hosts=("hooks.slack.com",)))
