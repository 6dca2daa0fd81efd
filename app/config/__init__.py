"""Settings of the service: each is declared here once, with its type, default, bounds, unit and meaning.

A setting is an environment variable. A `.env` file in the working directory supplies those that the environment does
not have. An invalid value stops the start with a `SettingInvalid` that names the variable and the allowed values.
`python -m tests.support.settings_page` writes the table of docs/settings.md from the declarations and the docstrings
below them.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from environs import Env, EnvValidationError

from app.config import values
from app.config.values import MIN_SECRET, SECRET_UNIT, choice, number, switch, text, texts, url
from app.exceptions import SettingInvalid
from app.support.file_urls import quoted

KEY_NEEDED = "key"
STORE_VALID = "store-valid"


@dataclass(frozen=True)
class Settings:
    """Validated settings of the service. Build them with `Settings.from_environment()`, in tests with keywords."""

    data_dir: Path = text(Path("var"), "folder", values.filled)
    """What this machine keeps: the SQLite database, report files, the private Valkey, sockets, the secret key."""
    database_url: str = text("", "URL", url(values.database, "sqlite", "postgresql", "postgres"))
    """`sqlite:///path/events.db` (three slashes: relative to the working directory, four: absolute) or
    `postgresql://user:password@host:5432/name`, with a database in UTF8. Empty: `events.db` in `DATA_DIR`.
    """
    database_read_url: str = text("", "URL", url(values.database, "postgresql", "postgres"))
    """A streaming replica of `DATABASE_URL` (PostgreSQL): reports, the list of events and the chart are read there as
    soon as it has everything committed before, otherwise from the primary; see
    [deployment](deployment.md#a-read-replica). Empty: none.
    """
    redis_url: str = text("", "URL", url(values.redis, "redis", "rediss", "unix"))
    """Redis or Valkey: `redis://user:password@host:6379/0`, `rediss://…` (TLS) or `unix:///path/redis.sock?db=0`; see
    [deployment](deployment.md). Empty: the service starts a private Valkey on a Unix socket in `DATA_DIR`.
    """
    storage_url: str = text("", "URL", url(values.storage, "file", "s3"))
    """Where report files are kept: `file:///folder`, or `s3://bucket/prefix` for a bucket of an S3-compatible store.
    Empty: the folder `reports` in `DATA_DIR`.
    """
    s3_endpoint_url: str = text("", "URL", url(values.endpoint, "http", "https"))
    """The address of an S3-compatible store, such as `https://minio.example.com:9000`; see [S3
    credentials](#s3-credentials). Empty: Amazon's.
    """
    s3_public_url: str = text("", "URL", url(values.endpoint, "http", "https"))
    """The address by which clients reach that store, if it differs. Downloads are redirected there. Empty:
    `S3_ENDPOINT_URL`.
    """
    secret_key: str = text("", SECRET_UNIT, values.long_enough, secret=True)
    """Signs links and sessions, makes the secrets of webhooks and second factors, and encrypts alert channels. Every
    process of an installation needs the same. Empty: made once and kept in `DATA_DIR/secret.key`, mode 0600.
    """
    admin_password: str = text("", "text, 8 characters or more", None, secret=True)
    """The password of the user `admin`, which the very first start creates. Later changes of this setting do not change
    the password. Empty: a random password, printed once.
    """
    public_url: str = text("", "URL", url(values.public, "http", "https"))
    """Where clients reach the service, such as `https://tally.example.com` or, [under a
    path](deployment.md#one-machine), `https://example.com/tally`. Every link is built from it. Empty:
    `http://HOST:PORT`.
    """
    host: str = text("127.0.0.1", "address or name", values.filled)
    """The address that the web server listens on; `0.0.0.0` for all. For a name such as `localhost`, the first IPv4
    address is used, otherwise the first IPv6 address.
    """
    port: int = number(8000, "TCP port", 1, 65_535)
    """The port that the web server listens on."""
    web_processes: int = number(0, "processes", 0, 256)
    """Number of web processes. 0: one on SQLite, which has one writer, otherwise one per core."""
    workers: int = number(1, "processes", 1, 256)
    """Number of report workers. Each writes one report at a time."""
    catalog_mode: str = choice("open", "strict")
    """`open` accepts any well-formed customer, product and type; `strict` only those in the catalog."""
    ingest_auth: str = choice("none", KEY_NEEDED)
    """`none` accepts events from any client that reaches the service. `key` accepts them only with an ingest key; see
    [Ingest keys](#ingest-keys).
    """
    rate_limit_address: int = number(0, "requests a minute", 0, 10_000_000)
    """Maximum number of requests to `POST /events` from one address; see [Rate limits](#rate-limits). 0: no limit."""
    rate_limit_key: int = number(0, "requests a minute", 0, 10_000_000)
    """The same for one ingest key, where `INGEST_AUTH` is `key`. 0: no limit."""
    cors_origins: tuple[str, ...] = texts(("*",), "origins", values.origins)
    """The origins whose pages may send to the API and read its responses, such as `https://app.example.com`; `*` for
    all. See [Pages of other origins](#pages-of-other-origins).
    """
    max_body_bytes: int = number(10 * 1024 * 1024, "bytes", 1024, 2**31)
    """The largest request body, after decompression."""
    max_batch_events: int = number(100_000, "events", 1, 1_000_000)
    """The maximum number of events in one request."""
    invalid_events: str = choice("refuse-batch", STORE_VALID)
    """How a batch with an invalid event is handled if the request has no `Prefer: handling=…`; see [Invalid
    events](#invalid-events).
    """
    max_codes: int = number(50_000, "codes", 3, 10_000_000)
    """The maximum total number of different customers, products and types in events; see [Number of
    codes](#number-of-codes).
    """
    body_seconds: int = number(30, "seconds", 1, 3600)
    """How long a request's body may take to arrive. Looked at between pieces of 64 KiB: a small or silent body holds a
    thread until its client leaves, so put a proxy that buffers in front where that matters.
    """
    ingest_wait_seconds: int = number(10, "seconds", 1, 300)
    """How long events wait for a database that is unavailable or busy, before their request is answered 503."""
    spool: bool = switch(False)
    """`on` keeps events in a file in `DATA_DIR` while the database is unavailable, answers 200, and delivers each once
    when it is back. `off` answers 503 after `INGEST_WAIT_SECONDS`.
    """
    changes_waiters: int = number(64, "requests", 0, 256)
    """How many requests to `GET /events/changes` may wait for new events at once in each web process. One more is
    answered at once with what there is.
    """
    report_timeout_seconds: int = number(900, "seconds", 1, 86_400)
    """A report that runs longer ends in `TIMEOUT`."""
    report_attempts: int = number(5, "attempts", 1, 100)
    """A report fails after so many attempts in a row without progress."""
    reports_waiting_max: int = number(1_000, "reports", 1, 10_000_000)
    """How many reports of one user may wait or run at once; further requests return 429. Reports that recurring reports
    start are always accepted, and they count. Commands on the server have no limit.
    """
    schedules_max: int = number(200, "recurring reports", 1, 10_000_000)
    """How many recurring reports one user may have."""
    report_shard_rows: int = number(5_000_000, "rows", 1, 2**53)
    """Longer reports are written by several workers side by side (PostgreSQL)."""
    report_buckets: tuple[str, ...] = texts((), "names", values.buckets)
    """The S3 buckets that a report's file may be delivered to; see [Delivery to S3](#delivery-to-s3). Empty: none."""
    sendfile: str = choice("off", "x-accel", "x-sendfile")
    """The header by which a proxy sends a report's file from this machine's disk; see [Files sent by a
    proxy](#files-sent-by-a-proxy). `off`: the service sends it.
    """
    sendfile_prefix: str = text("/report-files/", "path", values.proxy_path)
    """With `x-accel`: nginx's internal location of the folder of report files."""
    report_keep_days: int = number(7, "days", 1, 36_500)
    """How long a report's file is kept."""
    event_keep_days: int = number(0, "days", 0, 36_500)
    """Events whose `timestamp` is older are erased in small chunks, within minutes of their time. An event that
    arrives with an older `timestamp` is accepted, and then erased. 0: events are never erased by age.
    """
    webhook_hosts: tuple[str, ...] = texts((), "hosts", values.servers)
    """The servers that webhooks may go to; see [Webhooks](#webhooks). Empty: no webhooks."""
    alert_repeat: int = number(4, "hours", 1, 720)
    """After how long a message about alerts that still fire is sent again; see [alerts](alerts.md)."""
    smtp_url: str = text("", "URL", url(values.mail_server, "smtp", "smtps"))
    """The server that sends mail: `smtp://user:password@mail.example.com:587` (STARTTLS) or `smtps://…:465` (TLS from
    the start); see [Mail](#mail). Empty: no mail is sent.
    """
    mail_from: str = text("", "address", values.mail_address)
    """The sender of mail, such as `Tally <tally@example.com>`. Empty: `tally@` and the host in `PUBLIC_URL`."""
    alert_hosts: tuple[str, ...] = texts((), "hosts", values.servers)
    """The servers that alert channels may call, such as `hooks.slack.com`; see [Alert channels](#alert-channels). Mail
    is sent to the server in `SMTP_URL`, which need not be listed. Empty: mail only.
    """
    rejected_keep_days: int = number(30, "days", 1, 36_500)
    """How long a rejected event or rejected request is stored."""
    rejected_max: int = number(100_000, "events", 1, 10_000_000)
    """How many rejected events are stored; the oldest are deleted first. The same limit applies separately to rejected
    requests.
    """
    rejected_max_bytes: int = number(256 * 1024 * 1024, "bytes", 1024 * 1024, 2**50)
    """How many bytes rejected events may take in the database; the oldest are deleted first. Whole rejected requests,
    compressed, may take the same amount in addition.
    """
    audit_keep_days: int = number(365, "days", 1, 36_500)
    """How long an entry of the audit log is kept."""
    session_idle_minutes: int = number(480, "minutes", 1, 525_600)
    """How long a user stays signed in to the dashboard without activity. An automatic refresh is not activity."""
    session_days: int = number(7, "days", 1, 365)
    """How long after signing in a user is signed out in any case."""
    oidc_issuer: str = text("", "URL", url(values.issuer, "https", "http"))
    """The identity provider with whose accounts people sign in, as its discovery document names itself; see [single
    sign-on](how-to/single-sign-on.md). Empty: passwords only.
    """
    oidc_client_id: str = text("", "text")
    """The id under which the identity provider knows this service."""
    oidc_client_secret: str = text("", "text", secret=True)
    """The secret that belongs to it. Empty: a public client, which proves by PKCE alone that it asked."""
    oidc_scopes: str = text("openid profile email", "words", values.scopes)
    """What is requested from the identity provider. Some providers send groups only for a scope of their own."""
    oidc_role_claim: str = text("groups", "claim", values.filled)
    """The claim that has a user's groups. Dots lead into objects, as in `realm_access.roles`."""
    oidc_roles: tuple[str, ...] = texts((), "`GROUP=ROLE` or `GROUP=ROLE:CUSTOMER`", values.role_grants)
    """The role of each group, such as `tally-admins=admin, acme=analyst:ACME`; see [groups and
    roles](how-to/single-sign-on.md#groups-and-roles). A user without any of these groups may not sign in.
    """
    oidc_only: bool = switch(False)
    """`on` accepts no passwords, on the pages and the API, except that of one local administrator; see [passwords
    off](how-to/single-sign-on.md#passwords-off).
    """
    totp_required: str = choice("no", "admins", "everyone")
    """Which users must have a [second factor](how-to/second-factor.md). After the password, a user without one is
    led to the page that sets it up. The API rejects their password; their programs need API tokens.
    """
    trusted_hosts: tuple[str, ...] = texts((), "hosts", values.hosts, clean=lambda host: host.strip().lower())
    """The names that requests may be addressed to, such as `tally.example.com`; `.example.com` is that and all below
    it. Requests to others are answered 400, except `/health/…` and `/metrics`. Empty: any name.
    """
    trusted_proxies: int = number(0, "proxies", 0, 10)
    """How many proxies are between clients and the service; see [Proxies](#proxies). 0: their headers are ignored."""
    metrics_token: str = text("", SECRET_UNIT, values.token, secret=True)
    """Required to read `/metrics`, as a bearer token or as the password of HTTP Basic. Empty: `/metrics` is public."""
    hot_path: bool = switch(True)
    """`on` answers plain `POST /events` requests in front of Flask, six times faster than Flask does. `off` leaves
    every request to Flask. The responses are the same.
    """
    backup_url: str = text("", "folder or URL", values.backups)
    """Where the scheduler makes [backups](backup.md): a folder, `file:///folder` or `s3://bucket/prefix`, of this
    installation alone. Empty: no automatic backups.
    """
    backup_every: int = number(24, "hours", 1, 8_760)
    """The time from one automatic backup to the next. The page *System* warns if the last one is older than two of
    them.
    """
    backup_keep: int = number(7, "backups", 1, 10_000)
    """Number of complete backups that remain in `BACKUP_URL`, the newest. Each automatic backup removes older ones."""
    backup_before_migration: bool = switch(True)
    """`on`: a start or `tally db upgrade` that must migrate a database with data first makes a backup, in
    `BACKUP_URL` or else in `DATA_DIR/backups`, and does not migrate if that fails.
    """
    log_format: str = choice("text", "json")
    """Log lines for people (`text`) or collectors (`json`). With `json` every line is a JSON object, including those of
    Granian, Valkey and the supervisor.
    """
    access_log: bool = switch(False)
    """`on` logs a line for each request: method, path, names of query parameters without their values, status,
    milliseconds, bytes, address, user or key, user agent and request id.
    """
    environment: str = text("production", "text", values.filled)
    """A name for this installation, shown by `GET /service/authenticate`."""

    @property
    def database(self) -> str:
        """Return the database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{quoted(self.data_dir / 'events.db')}"

    @property
    def redis(self) -> str:
        """Return the URL of Redis or Valkey, with the default (the private Valkey's socket) filled in."""
        return self.redis_url or f"unix://{quoted(self.valkey_socket)}?db=0"

    @property
    def valkey_socket(self) -> Path:
        """Return the path of the private Valkey's socket, in a folder that only its owner may enter."""
        return self.data_dir.absolute() / "valkey" / "valkey.sock"

    @property
    def storage(self) -> str:
        """Return the URL of the report files' storage, with the default filled in."""
        return self.storage_url or f"file://{quoted(self.data_dir.absolute() / 'reports')}"

    @property
    def base_url(self) -> str:
        """Return the base URL of links, without a trailing slash. It never depends on the request's Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return values.in_ascii(urlsplit(self.public_url or f"http://{host}:{self.port}")).rstrip("/")

    @property
    def mail_sender(self) -> str:
        """Return the sender of mail, with the default filled in."""
        return self.mail_from or f"tally@{urlsplit(self.base_url).hostname}"

    @property
    def base_path(self) -> str:
        """Return the path under which clients reach the service, such as `/tally`, or an empty string for the root."""
        return urlsplit(self.base_url).path

    @property
    def web_process_count(self) -> int:
        """Return the number of web processes: by default 1 with SQLite, which has a single writer, else 1 per core."""
        if self.web_processes:
            return self.web_processes
        return 1 if self.database.startswith("sqlite") else max(1, os.cpu_count() or 1)

    def secret(self) -> str:
        """Return the key that signs links and sessions: SECRET_KEY, or a key created once in DATA_DIR (mode 0600).

        Raises:
            SettingInvalid: the stored key cannot be read or written, or is too short.
        """
        return self.secret_key or _kept_secret(self.data_dir / "secret.key")

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings from the environment and `.env`.

        Raises:
            SettingInvalid: a value is invalid; the message names every such variable.
        """
        _read_dotenv(Path(".env"))
        read, wrong = {}, {}
        for one in fields(cls):
            try:
                read[one.name] = _read_setting(one)
            except EnvValidationError as error:
                wrong[one.name.upper()] = " ".join(error.error_messages)
        if wrong:
            raise SettingInvalid(f"Wrong setting. {'; '.join(f'{name}: {wrong[name]}' for name in sorted(wrong))}")
        return cls(**read)


def _read_setting(one: Field[Any]) -> Any:
    """Return the checked value of a setting, in its field's type: that of its variable, or its default."""
    env, name, default, check = Env(), one.name.upper(), one.default, one.metadata["check"]
    if isinstance(default, bool):
        return env.str(name, "on" if default else "off", validate=check) == "on"
    if isinstance(default, int):
        return env.int(name, default, validate=check)
    if isinstance(default, tuple):
        return tuple(env.list(name, default, subcast=one.metadata["clean"], validate=check))
    value = env.str(name, str(default), validate=check)
    return Path(value) if isinstance(default, Path) else value


def _read_dotenv(path: Path) -> None:
    """Add the variables of a file to the environment unless they are already set. Values are used literally.

    Raises:
        SettingInvalid: the file cannot be read.
    """
    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
        filled_in = dotenv_values(path, encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingInvalid(f"The file .env cannot be read: {reason}.") from None
    for name, value in values.items():
        # The flask command has already read the file and has replaced each ${NAME} in it.
        if value is not None and os.environ.get(name, filled_in[name]) == filled_in[name]:
            os.environ[name] = value


def given() -> frozenset[str]:
    """Return the names of the settings that have a value in the environment, or in a `.env` that was read into it."""
    names = (one.name.upper() for one in fields(Settings))
    return frozenset(name for name in names if os.environ.get(name))


def _kept_secret(path: Path) -> str:
    """Return the key in a file, which is created on first use.

    The key is written under a temporary name first, so that concurrent processes read the same complete key.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            descriptor, partial = tempfile.mkstemp(dir=path.parent)  # mode 0600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_urlsafe(48))
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(partial, path)
            finally:
                Path(partial).unlink()
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingInvalid(f"DATA_DIR: cannot keep the secret key in {path}: {error.strerror}.") from error
    if len(secret) < MIN_SECRET:
        raise SettingInvalid(
            f"SECRET_KEY: the key kept in {path} has less than {MIN_SECRET} characters. "
            "Remove the file, and a new key is made."
        )
    return secret
