"""The container: what its build and compose.yaml say, and that the same command lines work in the same order.

There is no container engine here. The instructions run in root folders of their own, see tests/support/containers.py.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import trustme
from compose_spec import PyCompose

from app.cli.main import tally
from app.config import Settings
from tests.support import compose, nginx
from tests.support.client import event
from tests.support.containers import build, context, instructions, is_ignored, network
from tests.support.markdown import blocks
from tests.support.receivers import receiver
from tests.support.running import ROOT, wait_until
from tests.support.s3 import CREDENTIALS
from tests.support.s3_server import SECRET

CONTAINERFILE = ROOT / "deploy" / "Containerfile"
HOST = "tally.example.com"
VARIABLES = {
    "HOST_NAME": HOST,
    "ADMIN_PASSWORD": "correct horse battery",
    "POSTGRES_PASSWORD": secrets.token_hex(24),
    "VALKEY_PASSWORD": secrets.token_hex(24),
    "S3_SECRET_KEY": SECRET,
    "SECRET_KEY": secrets.token_hex(24),
}
TALLY = ("bootstrap", "bucket", "web", "worker", "scheduler")

needs_root = pytest.mark.skipif(not compose.as_root(), reason="mounts and networks of one's own need root on Linux")


def test_hadolint_finds_nothing():
    program = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([program, "--no-color", CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_the_image_is_built_in_two_stages_and_runs_as_a_user_without_a_name():
    steps = list(instructions(CONTAINERFILE.read_text()))
    assert [name for name, _ in steps].count("FROM") == 2
    last = dict(steps[[name for name, _ in steps].index("FROM", 1) :])
    assert last["COPY"] == "--from=build /opt/tally /opt/tally"
    assert re.fullmatch(r"\d{5}:\d{5}", last["USER"])
    assert json.loads(last["CMD"]) == ["tally", "serve"]
    assert last["VOLUME"] == "/data"
    assert "CMD [" in last["HEALTHCHECK"]


@pytest.mark.parametrize(
    ("path", "kept_out"),
    [
        (".env", True),
        (".git", True),
        (".venv", True),
        ("var", True),
        ("tests", True),
        ("deploy/.env", True),
        ("deploy/tls/tally.key", True),
        ("app/__pycache__/x.pyc", True),
        ("app/api/__pycache__/x.pyc", True),
        ("app/api/docs.py", False),
        ("deploy/nginx.conf", False),
        ("static/icon.svg", False),
        ("setup.cfg", False),
    ],
)
def test_the_ignore_file_keeps_data_and_secrets_out_of_the_context(path, kept_out):
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert is_ignored(path, [line for line in lines if line and not line.startswith("#")]) is kept_out


def test_the_context_is_what_git_knows_of_the_sources(tmp_path):
    """A file of data, cache or settings beside the sources is in no layer."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in (".env", "var/events.db", ".git/config", "deploy/.env", "deploy/tls/tally.key"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in tracked.stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    found = set(context(tmp_path))
    assert found <= set(tracked.stdout.splitlines())
    assert {"wsgi.py", "worker.py", "app/__init__.py", "templates/admin/base.html", "static/style.css"} <= found


def test_compose_yaml_follows_the_specification():
    specification = PyCompose.from_json(json.dumps(compose.load(VARIABLES))).to_spec()
    assert set(specification.services) == {*TALLY, "postgres", "valkey", "s3", "nginx"}


def test_each_process_of_tally_is_a_service_without_rights_and_with_a_root_that_is_read_only():
    services = compose.load(VARIABLES)["services"]
    for name in TALLY:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert services[name]["init"] is True
    assert {name: services[name]["command"] for name in ("bootstrap", "web", "worker", "scheduler")} == {
        name: ["tally", name] for name in ("bootstrap", "web", "worker", "scheduler")
    }
    assert not any("ports" in services[name] for name in services if name != "nginx")
    assert all("@" in services[name]["image"] or ":" in services[name]["image"] for name in set(services) - set(TALLY))


@pytest.mark.parametrize("name", VARIABLES)
def test_compose_refuses_to_start_without_a_variable(name):
    assert re.search(rf"\$\{{{name}:\?set it in \.env\}}", compose.FILE.read_text())
    with pytest.raises(KeyError, match=name):
        compose.load({other: value for other, value in VARIABLES.items() if other != name})


def test_the_page_on_deployment_makes_every_variable_of_compose_yaml(tmp_path):
    """Its commands are run as written."""
    (tmp_path / "deploy").mkdir()
    [block] = [one for one in blocks(ROOT / "docs" / "deployment.md") if "> .env" in one.text]
    subprocess.run(["bash", "-e"], input=block.text, cwd=tmp_path, text=True, check=True)
    lines = (tmp_path / "deploy" / ".env").read_text().splitlines()
    made = dict(line.split("=", 1) for line in lines)
    assert set(made) == set(VARIABLES)
    assert all(len(value) >= 16 for value in made.values())
    assert made["HOST_NAME"] == HOST


def test_each_service_starts_after_what_it_needs():
    services = compose.load(VARIABLES)["services"]
    needs = {
        (name, other, how["condition"].removeprefix("service_"))
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
    }
    ready = {("bootstrap", "completed_successfully"), ("bucket", "completed_successfully"), ("valkey", "healthy")}
    assert needs >= {(name, *one) for name in ("web", "worker", "scheduler") for one in ready}
    assert needs >= {("bootstrap", "postgres", "healthy"), ("nginx", "web", "healthy"), ("bucket", "s3", "started")}
    checked = {name for name in services if "test" in services[name].get("healthcheck", {})} | {"web"}  # by the image
    assert {other for _, other, condition in needs if condition == "healthy"} <= checked


def command_lines() -> list[list[str]]:
    """Return the command lines of Tally's services in the image and in compose.yaml."""
    own = [json.loads(rest) for name, rest in instructions(CONTAINERFILE.read_text()) if name == "CMD"]
    return own + [one["command"] for name, one in compose.load(VARIABLES)["services"].items() if name in TALLY]


def test_each_command_line_is_one_of_tally_or_of_a_mounted_file():
    for program, word, *rest in command_lines():
        if program == "tally":
            assert tally.commands[word].make_context(word, rest).args == []
        else:
            assert (program, word, rest) == ("python", "/bucket.py", [])
    [mounted] = compose.load(VARIABLES)["services"]["bucket"]["volumes"]
    source, target, mode = mounted.split(":")
    assert ((compose.DEPLOY / source).is_file(), target, mode) == (True, "/bucket.py", "ro")


@pytest.mark.parametrize("name", TALLY)
def test_each_environment_has_only_settings_and_valid_ones(monkeypatch, tmp_path, name):
    last = [rest for name, rest in instructions(CONTAINERFILE.read_text()) if name == "ENV"][-1]
    image = dict(word.split("=", 1) for word in last.split())
    given = image | compose.load(VARIABLES)["services"][name]["environment"]
    known = {one.name.upper() for one in fields(Settings)}
    assert given.keys() - known == {"PATH", *CREDENTIALS}
    monkeypatch.chdir(tmp_path)  # which has no .env
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = Settings.from_environment()
    assert settings.database_url.endswith("@postgres:5432/tally")
    assert settings.host == "0.0.0.0"


def test_the_image_copies_what_the_context_has():
    for name, rest in instructions(CONTAINERFILE.read_text()):
        words = [word for word in rest.split() if not word.startswith("--")]
        if name == "COPY" and "--from=" not in rest:
            assert all(word == "." or word in context(ROOT) for word in words[:-1])


@pytest.mark.parametrize("lives", [True, False])
def test_the_check_of_the_image_asks_whether_the_process_lives(lives):
    [rest] = [rest for name, rest in instructions(CONTAINERFILE.read_text()) if name == "HEALTHCHECK"]
    program, *arguments = json.loads(rest[rest.index("CMD") + 3 :])
    assert program == "python"
    with receiver() as endpoint:
        endpoint.documents |= {"/health/live": b"lives"} if lives else {}
        environment = {"PORT": str(urlsplit(endpoint.url).port)}
        checked = subprocess.run([sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, check=False)
    assert (checked.returncode == 0) is lives


def test_the_bucket_is_made_once(s3, monkeypatch):
    script = (compose.DEPLOY / "compose" / "bucket.py").read_text()
    given = s3.environment | {"STORAGE_URL": "s3://made-by-compose/reports"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        exec(compile(script, "bucket.py", "exec"), {})
    assert "made-by-compose" in {one["Name"] for one in s3.client.list_buckets()["Buckets"]}


def test_nginx_accepts_the_configuration_of_compose_yaml(tmp_path):
    """With addresses of this machine for the names of the services, and a certificate."""
    pair = trustme.CA().issue_cert(HOST)
    pair.private_key_pem.write_to_path(str(tmp_path / "tally.key"))
    pair.cert_chain_pems[0].write_to_path(str(tmp_path / "tally.crt"))
    site = (compose.DEPLOY / "compose" / "nginx.conf").read_text().replace("/etc/nginx/tls/", f"{tmp_path}/")
    for name in ("web:8000", "s3:8333"):
        assert name in site
        site = site.replace(name, "127.0.0.1:9")
    (tmp_path / "conf").write_text(nginx.around(tmp_path, site))
    tested = subprocess.run(
        [nginx.program(), "-t", "-p", tmp_path, "-c", tmp_path / "conf"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stderr


@pytest.fixture(scope="module")
def stack(short_folder: Path) -> Iterator[SimpleNamespace]:
    """The services of compose.yaml, started in order, and a way to ask them."""
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    folder.chmod(0o755)
    short_folder.chmod(0o755)
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    (folder / "tls").mkdir()
    certificate.private_key_pem.write_to_path(str(folder / "tls" / "tally.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "tls" / "tally.crt"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    image = build(CONTAINERFILE, ROOT, folder)
    with network() as inside:
        services = compose.Stack(image, inside, folder, VARIABLES, folder / "tls")

        def ask(*arguments: str) -> str:
            ports = ["--connect-to", f"{HOST}:443:127.0.0.1:8443", "--connect-to", f"{HOST}:9443:127.0.0.1:9443"]
            curl = ["curl", "--silent", "--show-error", "--fail-with-body", "--cacert", str(folder / "ca.pem"), *ports]
            done = subprocess.run([*inside, *curl, *arguments], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        try:
            services.up()
            yield SimpleNamespace(services=services, ask=ask, image=image)
        finally:
            services.down()


@needs_root
@pytest.mark.processes
@pytest.mark.soak
class TestRunning:
    """What runs is the command lines of the files, in their order, after an installation of every package.

    `make test` has the parts: each command line, setting and configuration is tried above, and the same processes are
    in tests/processes/test_standalone.py, behind TLS in tests/deploy/test_examples.py, with an S3 store in
    tests/faults/test_reports_survive_s3.py, and as a package in tests/install/test_wheel.py.
    """

    def test_an_event_becomes_a_report_over_tls(self, stack):
        user = ("--user", f"admin:{VARIABLES['ADMIN_PASSWORD']}")
        sent = json.dumps({"events": [event()]})
        header = ("--header", "Content-Type: application/json")
        stack.ask(f"https://{HOST}/events", *header, "--data", sent)
        wanted = json.dumps({"filter": {"customer": event()["customer"], "product": event()["product"]}})
        source = json.loads(stack.ask(f"https://{HOST}/reports", *user, *header, "--data", wanted))["source"]
        job = f"https://{HOST}/reports/{source}"
        wait_until(lambda: json.loads(stack.ask(f"{job}/availability", *user))["status"] == "COMPLETE", 60)
        file = stack.ask(job, *user, "--header", "Accept: text/csv", "--location")
        assert event()["type"] in file
        assert "Location" not in file

    def test_the_image_has_what_the_pages_need(self, stack):
        assert "Back to the dashboard" in stack.ask(f"https://{HOST}/docs/")
        assert "theme" in stack.ask(f"https://{HOST}/static/theme.js")

    def test_everything_is_healthy_with_a_scheduler_and_a_worker(self, stack):
        wait_until(lambda: set(self.checks(stack).values()) == {"ok"}, 60)

    @staticmethod
    def checks(stack) -> dict[str, str]:
        return json.loads(stack.ask(f"https://{HOST}/health/ready"))["checks"]

    def test_the_processes_have_no_rights_and_write_only_to_their_volume(self, stack):
        said = stack.services.execute("web", "sh", "-c", "id -u; touch /opt/x; touch /tmp/x /data/x && echo written")
        assert said.stdout.split() == ["10001", "written"]
        assert "Read-only file system" in said.stderr

    def test_the_image_has_no_sources_and_no_secrets(self, stack):
        root = stack.image.root
        assert not (root / "src").exists()
        assert not list(root.glob("opt/**/.env"))
        assert list((root / "data").iterdir()) == []

    def test_a_stop_ends_each_process_cleanly(self, stack):
        running = [name for name in stack.services.started if stack.services.is_running(name)]
        assert {"web", "worker", "scheduler"} <= set(running)
        codes = stack.services.down()
        assert {name: codes[name] for name in ("web", "worker", "scheduler")} == {"web": 0, "worker": 0, "scheduler": 0}
