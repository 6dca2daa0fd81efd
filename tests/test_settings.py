"""Settings: each is documented, validated at the start, and read from the environment or `.env`."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from dataclasses import fields
from pathlib import Path
from uuid import uuid4

import pytest
from flask.cli import load_dotenv

from app import create_app
from app.config import Settings, values
from app.exceptions import SettingInvalid
from app.ops import preflight, programs
from app.redis.queue import connect
from app.services.people import principal, single_sign_on
from app.store import database
from tests.support import settings_page

ROOT = Path(__file__).parent.parent


@pytest.fixture
def environment(tmp_path: Path, monkeypatch):
    """Clear the environment, and change to an empty folder. Undo what a test or a `.env` file sets."""
    before = dict(os.environ)
    os.environ.clear()
    monkeypatch.chdir(tmp_path)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


def test_the_reference_page_has_the_generated_table():
    table = settings_page.TABLE.search(settings_page.PAGE.read_text())
    assert table[0] == settings_page.table(), "run `python -m tests.support.settings_page`"


def test_every_internal_link_of_the_reference_page_has_a_heading():
    text = settings_page.PAGE.read_text()
    headings = {"-".join(heading.lower().split()) for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= headings


def test_an_empty_environment_gives_the_defaults(environment):
    assert Settings.from_environment() == Settings()


GOOD = {
    "DATA_DIR": ("/srv/tally", Path("/srv/tally")),
    "DATABASE_URL": ("postgresql://u:p@h1:5432,h2:5432/tally", "postgresql://u:p@h1:5432,h2:5432/tally"),
    "DATABASE_READ_URL": ("postgres://u:p@replica/tally", "postgres://u:p@replica/tally"),
    "REDIS_URL": ("redis://:word@cache:6379/3", "redis://:word@cache:6379/3"),
    "STORAGE_URL": ("s3://reports/of/tally", "s3://reports/of/tally"),
    "S3_ENDPOINT_URL": ("http://minio:9000", "http://minio:9000"),
    "S3_PUBLIC_URL": ("https://files.example.com", "https://files.example.com"),
    "SECRET_KEY": ("sixteen letters!", "sixteen letters!"),
    "ADMIN_PASSWORD": ("correct horse", "correct horse"),
    "PUBLIC_URL": ("https://tally.example/under/a/path", "https://tally.example/under/a/path"),
    "HOST": ("::1", "::1"),
    "CATALOG_MODE": ("strict", "strict"),
    "INGEST_AUTH": ("key", "key"),
    "TOTP_REQUIRED": ("admins", "admins"),
    "CORS_ORIGINS": ("https://a.example, https://b.example:8443", ("https://a.example", "https://b.example:8443")),
    "SPOOL": ("on", True),
    "REPORT_BUCKETS": ("analysts, Other.Bucket_1", ("analysts", "Other.Bucket_1")),
    "SENDFILE": ("x-accel", "x-accel"),
    "SENDFILE_PREFIX": ("/internal/files/", "/internal/files/"),
    "WEBHOOK_HOSTS": ("a.example, http://10.0.0.7:8080", ("a.example", "http://10.0.0.7:8080")),
    "ALERT_HOSTS": ("hooks.slack.com, http://10.0.0.7:8080", ("hooks.slack.com", "http://10.0.0.7:8080")),
    "SMTP_URL": ("smtp://u:p@mail.example:587", "smtp://u:p@mail.example:587"),
    "MAIL_FROM": ("Tally <tally@mail.example>", "Tally <tally@mail.example>"),
    "INVALID_EVENTS": ("store-valid", "store-valid"),
    "OIDC_ISSUER": ("https://login.example.com/realms/main", "https://login.example.com/realms/main"),
    "OIDC_CLIENT_ID": ("tally", "tally"),
    "OIDC_CLIENT_SECRET": ("hush", "hush"),
    "OIDC_SCOPES": ("openid groups", "openid groups"),
    "OIDC_ROLE_CLAIM": ("realm_access.roles", "realm_access.roles"),
    "OIDC_ROLES": ("a b=admin, acme=analyst:ACME", ("a b=admin", "acme=analyst:ACME")),
    "OIDC_ONLY": ("on", True),
    "TRUSTED_HOSTS": ("Tally.example.com, .example.org,[::1]", ("tally.example.com", ".example.org", "[::1]")),
    "METRICS_TOKEN": ("sixteen-letters!", "sixteen-letters!"),
    "HOT_PATH": ("off", False),
    "ACCESS_LOG": ("on", True),
    "BACKUP_URL": ("s3://backups/tally", "s3://backups/tally"),
    "BACKUP_BEFORE_MIGRATION": ("off", False),
    "LOG_FORMAT": ("json", "json"),
    "ENVIRONMENT": ("staging", "staging"),
}


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_each_setting_is_read_from_its_variable(environment, field):
    largest = getattr(field.metadata["check"], "max", None)  # of a number
    text, value = (str(largest), largest) if largest is not None else GOOD[field.name.upper()]
    environment[field.name.upper()] = text
    assert getattr(Settings.from_environment(), field.name) == value


WRONG = {
    "DATA_DIR": [" "],
    "DATABASE_URL": [
        "mysql://localhost/tally",
        "events.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///events#1.db",
        "sqlite:///events?mode=ro",
        "sqlite:///100%.db",
    ],
    "REDIS_URL": ["localhost:6379", "redis://", "redis://cache:none", "unix://", "redis://cache/reports"],
    "STORAGE_URL": [
        "file:///srv/reports#2026",
        "file:///srv/reports?2026",
        "file:///srv/100%",
        "/srv/reports",
        "file://reports",
        "ftp://host/reports",
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/prefix",
        "s3://bucket/prefix?region=x",
    ],
    "SMTP_URL": [
        "mail.example:587",
        "http://mail.example",
        "smtp://",
        "smtp://mail.example:0",
        "smtp://user@mail.example",
        "smtp://u:p@ss@mail.example",
        "smtp://mail.example/box",
        "smtp://u:100%@mail.example",
    ],
    "MAIL_FROM": ["tally", "a@b@c", "a@example.com, b@example.com", "Tally <tally@mail.example>\nBcc: x@mail.example"],
    "S3_ENDPOINT_URL": [
        "minio:9000",
        "http://key:secret@minio:9000",
        "http://minio:9000/?x",
        "http://my_minio:9000",
        "http://minio..example:9000",
    ],
    "S3_PUBLIC_URL": ["ftp://files.example.com"],
    "REPORT_BUCKETS": ["analysts,,others", "analysts/reports", "s3://analysts"],
    "SENDFILE": ["on"],
    "SENDFILE_PREFIX": ["report-files", "/", "/a b/"],
    "SECRET_KEY": ["too short"],
    "PUBLIC_URL": [
        "https://tally..example",
        "tally.example",
        "https://",
        "https://tally.example:port",
        "https://tally.example/?page=1",
        "https://tally.example/a//b",
        "https://tally.example/../b",
        "https://tally.example/a%20b",
        "https://tally.example/events/x",
    ],
    "HOST": [""],
    "PORT": ["0", "65536", "http", "80.5"],
    "WEB_PROCESSES": ["-1"],
    "WORKERS": ["0"],
    "CATALOG_MODE": ["closed"],
    "INGEST_AUTH": ["yes"],
    "TOTP_REQUIRED": ["yes"],
    "RATE_LIMIT_ADDRESS": ["-1"],
    "RATE_LIMIT_KEY": ["100/minute"],
    "CORS_ORIGINS": ["", "https://a.example,example.com", "https://a.example/path"],
    "MAX_BODY_BYTES": ["10 MiB", "-1"],
    "MAX_BATCH_EVENTS": ["0"],
    "MAX_CODES": ["2"],
    "BODY_SECONDS": ["0"],
    "INGEST_WAIT_SECONDS": ["0"],
    "SPOOL": ["yes"],
    "CHANGES_WAITERS": ["-1", "257"],
    "REPORT_TIMEOUT_SECONDS": ["0"],
    "REPORT_KEEP_DAYS": ["forever"],
    "EVENT_KEEP_DAYS": ["-1"],
    "WEBHOOK_HOSTS": ["https://a.example/path", "*", "a.example,ftp://b.example", "user@a.example"],
    "REJECTED_KEEP_DAYS": ["0"],
    "REJECTED_MAX_BYTES": ["1000"],
    "REPORTS_WAITING_MAX": ["0"],
    "SCHEDULES_MAX": ["0"],
    "INVALID_EVENTS": ["lenient"],
    "REJECTED_MAX": ["none"],
    "AUDIT_KEEP_DAYS": ["0"],
    "SESSION_IDLE_MINUTES": ["0"],
    "SESSION_DAYS": ["0"],
    "OIDC_ISSUER": [
        "http://login.example.com",
        "https://",
        "https://u:p@login.example.com",
        "https://a.example?b",
        "https://a.example#b",
    ],
    "OIDC_SCOPES": ["profile email"],
    "OIDC_ROLE_CLAIM": [" "],
    "OIDC_ROLES": ["admins", "=admin", "staff=boss", "staff=operator:", "staff=analyst", "a=admin, staff=analyst"],
    "OIDC_ONLY": ["yes"],
    "TRUSTED_HOSTS": ["https://tally.example.com", "tally.example.com:8000", "tally.example.com, *"],
    "TRUSTED_PROXIES": ["-1", "10.0.0.1"],
    "METRICS_TOKEN": ["too-short", "sixteen letters and blanks"],
    "HOT_PATH": ["yes"],
    "ACCESS_LOG": ["yes", "json"],
    "BACKUP_URL": ["ftp://host/folder", "s3://key:secret@bucket/prefix", "file://folder"],
    "BACKUP_EVERY": ["0"],
    "BACKUP_KEEP": ["0"],
    "BACKUP_BEFORE_MIGRATION": ["yes"],
    "LOG_FORMAT": ["xml"],
    "ENVIRONMENT": [""],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_an_invalid_value_is_rejected_with_the_setting_s_name(environment, name, value):
    environment[name] = value
    with pytest.raises(SettingInvalid, match=f"{name}: .+") as error:
        Settings.from_environment()
    assert "\n" not in str(error.value)


def test_all_invalid_values_are_named_together(environment):
    environment |= {"PORT": "http", "WORKERS": "0", "CATALOG_MODE": "closed"}
    with pytest.raises(SettingInvalid, match="CATALOG_MODE: .+; PORT: .+; WORKERS: "):
        Settings.from_environment()


def test_an_invalid_secret_is_not_in_the_message(environment):
    environment |= {"SECRET_KEY": "hush", "DATABASE_URL": "mysql://u:hush@localhost/tally"}
    with pytest.raises(SettingInvalid) as error:
        Settings.from_environment()
    assert "hush" not in str(error.value)


UNREADABLE = {
    "REDIS_URL": [
        "redis://u:hush/hush@localhost:6379/0",
        "redis://:hush[@localhost/0",
        "redis://:hush%@localhost:6379/0",
        "redis://u:6379/hush@localhost:6379/0",
        "redis://:hush#hush@localhost:6379/0",
    ],
    "DATABASE_URL": [
        "postgresql://u:hush[@localhost/tally",
        "postgresql://u:100%hush@localhost/tally",
        "postgresql://u:hush%zz@localhost/tally",
        "postgresql://u:hush@hush@localhost/tally",
        "postgresql://u:hush#hush@localhost/tally",
        "postgresql://u:hush?hush@localhost/tally",
        "postgresql://u:5432/hush@localhost/tally",
    ],
    "PUBLIC_URL": ["https://u:hush@tally.example"],
    "S3_ENDPOINT_URL": ["https://u:hush@s3.example", "https://u:hush/hush@s3.example"],
    "WEBHOOK_HOSTS": ["https://u:hush@hooks.example"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in UNREADABLE for value in UNREADABLE[name]])
def test_a_password_in_an_unreadable_url_is_not_in_the_message(environment, name, value):
    environment[name] = value
    with pytest.raises(SettingInvalid, match=name) as error:
        Settings.from_environment()
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://u:hush@localhost/tally?hush"),
        ("DATABASE_URL", "postgresql://u:hush@localhost/tally?hush=1"),
        ("REDIS_URL", "redis://:hush@localhost:6379/0?hush=1"),
        ("REDIS_URL", "redis://:hush@localhost:6379/0?socket_timeout=hush"),
        ("REDIS_URL", "rediss://:hush@localhost:6379/0?ssl_cert_reqs=hush"),
    ],
)
def test_errors_that_only_the_client_library_detects_are_reported_at_the_start(tmp_path, name, value):
    with pytest.raises(SettingInvalid, match=f"^{name}: ") as error:
        create_app(Settings(data_dir=tmp_path, **{name.lower(): value}))
    assert "hush" not in str(error.value)
    assert error.value.__cause__ is None


def test_secrets_are_not_in_the_representation():
    assert "hush" not in repr(Settings(secret_key="hush" * 4, admin_password="hush" * 2))


def test_an_invalid_value_prevents_the_start(tmp_path):
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi"), "serve"]
    result = subprocess.run(
        command, cwd=tmp_path, env={"PATH": os.environ["PATH"], "PORT": "http"}, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "PORT" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())  # nothing was created


def test_a_dotenv_file_in_the_working_directory_is_read(environment, tmp_path):
    (tmp_path / ".env").write_text("# ours\nPORT=8123\nPUBLIC_URL='https://tally.example'\n")
    settings = Settings.from_environment()
    assert (settings.port, settings.public_url) == (8123, "https://tally.example")


def test_the_environment_has_precedence_over_the_dotenv_file(environment, tmp_path):
    (tmp_path / ".env").write_text("PORT=8123\nWORKERS=3\n")
    environment["PORT"] = "8456"
    settings = Settings.from_environment()
    assert (settings.port, settings.workers) == (8456, 3)


def test_an_invalid_value_in_the_dotenv_file_is_rejected(environment, tmp_path):
    (tmp_path / ".env").write_text("WORKERS=many\n")
    with pytest.raises(SettingInvalid, match="WORKERS"):
        Settings.from_environment()


AS_WRITTEN = r"a$PATH${PATH}%(x)s%41#b=c\d'e"


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_value_in_the_dotenv_file_is_read_literally(environment, tmp_path, quote):
    environment["PATH"] = "/usr/bin"
    value = AS_WRITTEN.replace("\\", "/") if quote else AS_WRITTEN  # a backslash escapes inside quotes
    (tmp_path / ".env").write_text(f"ADMIN_PASSWORD={quote}{value}{quote} # ours\n", encoding="utf-8-sig")
    assert Settings.from_environment().admin_password == value


def test_the_flask_command_does_not_expand_variables_in_it(environment, tmp_path):
    environment |= {"PATH": "/usr/bin", "PORT": "8123"}
    (tmp_path / ".env").write_text("ADMIN_PASSWORD=word${PATH}\nPORT=${PATH}\n")
    load_dotenv()
    assert environment["ADMIN_PASSWORD"] == "word/usr/bin"
    assert Settings.from_environment().admin_password == "word${PATH}"
    assert environment["PORT"] == "8123"


def test_a_dotenv_file_in_another_encoding_is_rejected_in_a_sentence(environment, tmp_path):
    (tmp_path / ".env").write_bytes("ENVIRONMENT=Zürich".encode("latin-1"))
    with pytest.raises(SettingInvalid, match=r"^The file \.env cannot be read: it is not UTF-8\.$"):
        Settings.from_environment()


ODD = "a b#c?d%41e%=f'g\"h$i\\j:k;l,ü\udcff"


def test_the_data_folder_may_contain_any_character(tmp_path):
    data = tmp_path / ODD
    settings = Settings(data_dir=data)
    app = create_app(settings)
    database.upgrade()
    database.release()
    assert (data / "events.db").stat().st_size > 0
    assert list(tmp_path.iterdir()) == [data]
    upload = app.extensions["services"].reports.destinations.own.create(f"{uuid4()}.ab.csv", None)
    upload.abort()
    assert (data / "reports").is_dir()


def test_the_path_of_the_socket_may_contain_any_character_that_is_text(short_folder):
    settings = Settings(data_dir=short_folder / ODD.removesuffix("\udcff"))
    preflight.private_folder(settings.valkey_socket.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsencode(settings.valkey_socket))
        listener.listen()
        assert connect(settings.redis).connection_pool.make_connection().path == str(settings.valkey_socket)


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "0.0.0.0")])
def test_the_web_server_gets_an_address_and_links_keep_the_host_name(host, address):
    assert preflight.resolved(Settings(host=host)).host == address
    assert host in Settings(host=host).base_url


@pytest.mark.parametrize("host", ["no.such.host.invalid", "tally..example", "a" * 70])
def test_a_host_without_an_address_is_named(host):
    with pytest.raises(SettingInvalid, match=f"^HOST: {host} is not a name or address"):
        preflight.resolved(Settings(host=host))


@pytest.mark.parametrize("name", ["a\nb", "a\udcff"])
def test_a_data_folder_that_redis_clients_cannot_read_is_rejected_before_anything_is_created(tmp_path, name):
    with pytest.raises(SettingInvalid, match="DATA_DIR: .+ control character, or bytes that are not UTF-8"):
        preflight.check(Settings(data_dir=tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_processes_get_a_temporary_folder_if_there_is_none(tmp_path, monkeypatch):
    assert programs.temporary_folder(Settings(data_dir=tmp_path)) == {}
    monkeypatch.setattr(tempfile, "gettempdir", lambda: Path("/nowhere/at/all").stat())
    variables = programs.temporary_folder(Settings(data_dir=tmp_path))
    assert variables == dict.fromkeys(("TMPDIR", "SQLITE_TMPDIR"), str(tmp_path / "tmp"))
    assert (tmp_path / "tmp").is_dir()


def test_a_secret_key_is_generated_once_and_readable_only_by_its_owner(tmp_path):
    settings = Settings(data_dir=tmp_path / "var")
    secret = settings.secret()
    assert len(secret) >= 32
    assert Settings(data_dir=tmp_path / "var").secret() == secret
    assert [file.name for file in (tmp_path / "var").iterdir()] == ["secret.key"]
    assert stat.S_IMODE((tmp_path / "var" / "secret.key").stat().st_mode) == 0o600


def test_processes_that_start_concurrently_have_the_same_secret_key(tmp_path):
    settings, keys, barrier = Settings(data_dir=tmp_path), [], threading.Barrier(16)

    def start() -> None:
        barrier.wait()
        keys.append(settings.secret())

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 16
    assert len(set(keys)) == 1


def test_a_configured_secret_key_is_not_stored(tmp_path):
    assert Settings(data_dir=tmp_path, secret_key="sixteen letters!").secret() == "sixteen letters!"
    assert not list(tmp_path.iterdir())


def test_an_empty_stored_key_is_rejected_because_anyone_could_sign_with_it(tmp_path):
    (tmp_path / "secret.key").touch()
    with pytest.raises(SettingInvalid, match=r"SECRET_KEY: .*secret\.key"):
        Settings(data_dir=tmp_path).secret()


def test_a_folder_in_which_the_key_cannot_be_stored_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingInvalid, match="DATA_DIR: "):
        Settings(data_dir=tmp_path / "file").secret()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1", "port": 80}, "http://[::1]:80"),
        ({"public_url": "https://tally.example/"}, "https://tally.example"),
    ],
)
def test_links_start_with_the_public_url_or_with_host_and_port(given, url):
    assert Settings(**given).base_url == url


def test_empty_urls_default_to_the_data_folder():
    settings = Settings(data_dir=Path("/srv/tally"))
    assert settings.database == "sqlite:////srv/tally/events.db"
    assert settings.redis == "unix:///srv/tally/valkey/valkey.sock?db=0"
    assert settings.storage == "file:///srv/tally/reports"


def test_sqlite_gets_one_web_process_and_postgresql_one_per_core():
    assert Settings().web_process_count == 1
    assert Settings(database_url="postgresql://localhost/tally").web_process_count == os.cpu_count()
    assert Settings(web_processes=3).web_process_count == 3


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"OIDC_ISSUER": "https://a.example"}, "OIDC_CLIENT_ID"),
        ({"OIDC_ISSUER": "https://a.example", "OIDC_CLIENT_ID": "tally"}, "OIDC_ROLES"),
        ({"OIDC_ONLY": "on"}, "OIDC_ISSUER"),
    ],
)
def test_incomplete_settings_of_single_sign_on_stop_the_start(environment, values, named):
    environment |= values
    with pytest.raises(SettingInvalid, match=named):
        create_app()


def test_without_authlib_an_identity_provider_stops_the_start(environment, monkeypatch):
    monkeypatch.setattr(single_sign_on, "find_spec", lambda name: None)
    environment |= {"OIDC_ISSUER": "https://a.example", "OIDC_CLIENT_ID": "tally", "OIDC_ROLES": "a=admin"}
    with pytest.raises(SettingInvalid, match=r"tally-events\[oidc\]"):
        create_app()


def test_the_roles_of_groups_are_those_of_the_service():
    assert tuple(values.ROLES) == principal.ROLES


@pytest.mark.parametrize(
    ("entry", "parsed"),
    [
        ("staff=operator", ("staff", "operator", None)),
        ("acme = analyst : ACME", ("acme", "analyst", "ACME")),
        ("cn=staff%2Cdc=example=admin", ("cn=staff,dc=example", "admin", None)),
        ("a=analyst:A:B", ("a", "analyst", "A:B")),
        ("a=analyst:A%2CB%25", ("a", "analyst", "A,B%")),
    ],
)
def test_a_group_and_a_customer_may_have_any_character(entry, parsed):
    grant = values.role_grant(entry)
    assert (grant.group, grant.role, grant.customer) == parsed


def test_links_have_the_host_of_public_url_in_ascii_as_browsers_and_mails_have_it():
    settings = Settings(public_url="https://München.example:8443/tally")
    assert settings.base_url == "https://xn--mnchen-3ya.example:8443/tally"
    assert settings.mail_sender == "tally@xn--mnchen-3ya.example"
