"""Settings of the service: their names, types, units, defaults and meanings.

A setting is an environment variable. A `.env` file in the working directory supplies those that the environment does
not have. An invalid value stops the start with a `SettingInvalid` that names the variable and the allowed values.
docs/settings.md describes the same list for people; a test keeps the two in agreement.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from environs import Env, EnvValidationError, validate

from app.exceptions import SettingInvalid
from app.support.file_urls import quoted
from app.support.url_origin import named

CATALOG_MODES = ("open", "strict")
KEY_NEEDED = "key"
INGEST_AUTHS = ("none", KEY_NEEDED)
STORE_VALID = "store-valid"
INVALID_EVENTS = ("refuse-batch", STORE_VALID)
LOG_FORMATS = ("text", "json")
SWITCH = ("on", "off")
SENDFILES = ("off", "x-accel", "x-sendfile")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
BASE_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
# First segments of the service's own paths. BASE_PATH must differ, because a proxy that strips it makes it ambiguous.
OWN_PATHS = ("admin", "bootstrap", "docs", "events", "files", "health", "metrics", "openapi.json", "reports", "service")
OWN_PATHS += ("static", "system")
HOST = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")  # .example.com: the domain and all names below it
LABEL = re.compile("(?!-)[A-Za-z0-9-]{1,63}(?<!-)")  # what boto3 accepts between two dots of a host name
BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
UNREADABLE = (
    "is not a URL that can be read. In a user's name or a password write % / ? # @ as %25 %2F %3F %23 %40, "
    "and elsewhere % as %25."
)
ENDS_EARLY = "must name a path. Write ? and # in it as %3F and %23."
MIN_SECRET = 16  # characters
TOKEN = re.compile(rf"[\x21-\x7e]{{{MIN_SECRET},}}")
MANY = validate.Range(0, 10_000_000)
MANY_OR_ONE = validate.Range(1, 10_000_000)


@dataclass(frozen=True)
class Settings:
    """Validated settings of the service. Build them with `Settings.from_environment()`, in tests with keywords."""

    data_dir: Path = Path("var")  # DATA_DIR: this machine's data: database, report files, sockets, secret key
    database_url: str = ""  # DATABASE_URL: sqlite:///path or postgresql://…; empty: events.db in DATA_DIR
    redis_url: str = ""  # REDIS_URL: redis://… or unix://…; empty: a private Valkey on a socket in DATA_DIR
    storage_url: str = ""  # STORAGE_URL: of report files, file:///folder or s3://bucket/prefix; empty: in DATA_DIR
    s3_endpoint_url: str = ""  # S3_ENDPOINT_URL: an S3-compatible store's address; empty: Amazon's
    s3_public_url: str = ""  # S3_PUBLIC_URL: where clients reach that store; empty: S3_ENDPOINT_URL
    secret_key: str = field(default="", repr=False)  # SECRET_KEY: signs links and sessions; empty: stored in DATA_DIR
    admin_password: str = field(default="", repr=False)  # ADMIN_PASSWORD: the first user's; empty: random, shown once
    public_url: str = ""  # PUBLIC_URL: where clients reach the service, the base of every link; empty: HOST and PORT
    host: str = "127.0.0.1"  # HOST: the address the web server listens on
    port: int = 8000  # PORT: the TCP port it listens on
    web_processes: int = 0  # WEB_PROCESSES: 0: one on SQLite (single writer), else one per core
    workers: int = 1  # WORKERS: report worker processes
    catalog_mode: str = "open"  # CATALOG_MODE: open accepts any well-formed code, strict only the catalog's
    ingest_auth: str = "none"  # INGEST_AUTH: none accepts events from anybody, key only with an ingest key
    rate_limit_address: int = 0  # RATE_LIMIT_ADDRESS: requests a minute to POST /events from one address; 0: any
    rate_limit_key: int = 0  # RATE_LIMIT_KEY: requests a minute with one ingest key; 0: any number
    cors_origins: tuple[str, ...] = ("*",)  # CORS_ORIGINS: origins whose pages may read the API's responses
    max_body_bytes: int = 10 * 1024 * 1024  # MAX_BODY_BYTES: of one request, after decompression
    max_batch_events: int = 100_000  # MAX_BATCH_EVENTS: maximum events in a request
    invalid_events: str = "refuse-batch"  # INVALID_EVENTS: how a batch with invalid events is handled without Prefer
    max_codes: int = 50_000  # MAX_CODES: maximum number of different customers, products and types in total
    body_seconds: int = 30  # BODY_SECONDS: to read one request's body
    ingest_wait_seconds: int = 10  # INGEST_WAIT_SECONDS: how long events wait for an unavailable database before a 503
    spool: bool = False  # SPOOL: on stores events on this machine's disk while the database is unavailable
    report_timeout_seconds: int = 900  # REPORT_TIMEOUT_SECONDS: a report that runs longer ends in TIMEOUT
    report_attempts: int = 5  # REPORT_ATTEMPTS: a report fails after so many attempts in a row without progress
    reports_waiting_max: int = 1_000  # REPORTS_WAITING_MAX: maximum reports of a user that wait or run
    schedules_max: int = 200  # SCHEDULES_MAX: maximum recurring reports of a user
    report_shard_rows: int = 5_000_000  # REPORT_SHARD_ROWS: longer reports are written by several workers (PostgreSQL)
    report_buckets: tuple[str, ...] = ()  # REPORT_BUCKETS: S3 buckets that reports may be delivered to
    sendfile: str = "off"  # SENDFILE: the header by which a proxy sends a file from this disk; off: Tally does
    sendfile_prefix: str = "/report-files/"  # SENDFILE_PREFIX: with x-accel, the proxy's own path of the files' folder
    report_keep_days: int = 7  # REPORT_KEEP_DAYS: how long a report's file is kept
    event_keep_days: int = 0  # EVENT_KEEP_DAYS: events older than this, by their timestamp, are erased; 0: none
    webhook_hosts: tuple[str, ...] = ()  # WEBHOOK_HOSTS: servers that webhooks may go to; none: no webhooks
    rejected_keep_days: int = 30  # REJECTED_KEEP_DAYS: how long a rejected event is kept
    rejected_max: int = 100_000  # REJECTED_MAX: how many rejected events are kept, the newest
    rejected_max_bytes: int = 256 * 1024 * 1024  # REJECTED_MAX_BYTES: of events and of requests each; the newest stay
    audit_keep_days: int = 365  # AUDIT_KEEP_DAYS: how long an entry of the audit log is kept
    session_idle_minutes: int = 480  # SESSION_IDLE_MINUTES: a session ends after this time without user activity
    session_days: int = 7  # SESSION_DAYS: a session ends this long after login in any case
    trusted_hosts: tuple[str, ...] = ()  # TRUSTED_HOSTS: names that requests may be addressed to; empty: any
    trusted_proxies: int = 0  # TRUSTED_PROXIES: how many proxies are in front of the service; 0: none is trusted
    metrics_token: str = field(default="", repr=False)  # METRICS_TOKEN: required to read /metrics; empty: public
    hot_path: bool = True  # HOT_PATH: on handles the plainest POST /events without Flask, off none
    log_format: str = "text"  # LOG_FORMAT: text for people, json for collectors
    environment: str = "production"  # ENVIRONMENT: a name for this installation, shown by /service/authenticate

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
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

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
        env = Env(eager=False)  # an invalid value is None until `seal` names them all
        settings = cls(
            data_dir=Path(env.str("DATA_DIR", str(cls.data_dir), validate=_filled) or ""),
            database_url=env.str("DATABASE_URL", "", validate=_url(_database, "sqlite", "postgresql", "postgres")),
            redis_url=env.str("REDIS_URL", "", validate=_url(_redis, "redis", "rediss", "unix")),
            storage_url=env.str("STORAGE_URL", "", validate=_url(_storage, "file", "s3")),
            s3_endpoint_url=env.str("S3_ENDPOINT_URL", "", validate=_url(_endpoint, "http", "https")),
            s3_public_url=env.str("S3_PUBLIC_URL", "", validate=_url(_endpoint, "http", "https")),
            secret_key=env.str("SECRET_KEY", "", validate=_long_enough),
            admin_password=env.str("ADMIN_PASSWORD", ""),
            public_url=env.str("PUBLIC_URL", "", validate=_url(_public, "http", "https")),
            host=env.str("HOST", cls.host, validate=_filled),
            port=env.int("PORT", cls.port, validate=validate.Range(1, 65535)),
            web_processes=env.int("WEB_PROCESSES", cls.web_processes, validate=validate.Range(0, 256)),
            workers=env.int("WORKERS", cls.workers, validate=validate.Range(1, 256)),
            catalog_mode=env.str("CATALOG_MODE", cls.catalog_mode, validate=validate.OneOf(CATALOG_MODES)),
            ingest_auth=env.str("INGEST_AUTH", cls.ingest_auth, validate=validate.OneOf(INGEST_AUTHS)),
            rate_limit_address=env.int("RATE_LIMIT_ADDRESS", cls.rate_limit_address, validate=MANY),
            rate_limit_key=env.int("RATE_LIMIT_KEY", cls.rate_limit_key, validate=MANY),
            cors_origins=tuple(env.list("CORS_ORIGINS", cls.cors_origins, subcast=str.strip, validate=_origins) or ()),
            max_body_bytes=env.int("MAX_BODY_BYTES", cls.max_body_bytes, validate=validate.Range(1024, 2**31)),
            max_batch_events=env.int("MAX_BATCH_EVENTS", cls.max_batch_events, validate=validate.Range(1, 1_000_000)),
            invalid_events=env.str("INVALID_EVENTS", cls.invalid_events, validate=validate.OneOf(INVALID_EVENTS)),
            max_codes=env.int("MAX_CODES", cls.max_codes, validate=validate.Range(3, 10_000_000)),
            body_seconds=env.int("BODY_SECONDS", cls.body_seconds, validate=validate.Range(1, 3600)),
            ingest_wait_seconds=env.int(
                "INGEST_WAIT_SECONDS", cls.ingest_wait_seconds, validate=validate.Range(1, 300)
            ),
            spool=env.str("SPOOL", "off", validate=validate.OneOf(SWITCH)) == "on",
            report_timeout_seconds=env.int(
                "REPORT_TIMEOUT_SECONDS", cls.report_timeout_seconds, validate=validate.Range(1, 86_400)
            ),
            report_attempts=env.int("REPORT_ATTEMPTS", cls.report_attempts, validate=validate.Range(1, 100)),
            reports_waiting_max=env.int("REPORTS_WAITING_MAX", cls.reports_waiting_max, validate=MANY_OR_ONE),
            schedules_max=env.int("SCHEDULES_MAX", cls.schedules_max, validate=MANY_OR_ONE),
            report_shard_rows=env.int("REPORT_SHARD_ROWS", cls.report_shard_rows, validate=validate.Range(1, 2**53)),
            report_buckets=tuple(env.list("REPORT_BUCKETS", (), subcast=str.strip, validate=_buckets) or ()),
            sendfile=env.str("SENDFILE", cls.sendfile, validate=validate.OneOf(SENDFILES)),
            sendfile_prefix=env.str("SENDFILE_PREFIX", cls.sendfile_prefix, validate=_path),
            report_keep_days=env.int("REPORT_KEEP_DAYS", cls.report_keep_days, validate=validate.Range(1, 36_500)),
            event_keep_days=env.int("EVENT_KEEP_DAYS", cls.event_keep_days, validate=validate.Range(0, 36_500)),
            webhook_hosts=tuple(env.list("WEBHOOK_HOSTS", (), subcast=str.strip, validate=_servers) or ()),
            rejected_keep_days=env.int(
                "REJECTED_KEEP_DAYS", cls.rejected_keep_days, validate=validate.Range(1, 36_500)
            ),
            rejected_max=env.int("REJECTED_MAX", cls.rejected_max, validate=validate.Range(1, 10_000_000)),
            rejected_max_bytes=env.int(
                "REJECTED_MAX_BYTES", cls.rejected_max_bytes, validate=validate.Range(1024 * 1024, 2**50)
            ),
            audit_keep_days=env.int("AUDIT_KEEP_DAYS", cls.audit_keep_days, validate=validate.Range(1, 36_500)),
            session_idle_minutes=env.int(
                "SESSION_IDLE_MINUTES", cls.session_idle_minutes, validate=validate.Range(1, 525_600)
            ),
            session_days=env.int("SESSION_DAYS", cls.session_days, validate=validate.Range(1, 365)),
            trusted_hosts=tuple(env.list("TRUSTED_HOSTS", [], subcast=_host, validate=_hosts) or ()),
            trusted_proxies=env.int("TRUSTED_PROXIES", cls.trusted_proxies, validate=validate.Range(0, 10)),
            metrics_token=env.str("METRICS_TOKEN", "", validate=_token),
            hot_path=env.str("HOT_PATH", "on", validate=validate.OneOf(SWITCH)) == "on",
            log_format=env.str("LOG_FORMAT", cls.log_format, validate=validate.OneOf(LOG_FORMATS)),
            environment=env.str("ENVIRONMENT", cls.environment, validate=_filled),
        )
        try:
            env.seal()
        except EnvValidationError as error:
            wrong = "; ".join(
                f"{name}: {' '.join(str(message) for message in messages)}"
                for name, messages in sorted(error.error_messages.items())
            )
            raise SettingInvalid(f"Wrong setting. {wrong}") from None
        return settings


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


def _filled(value: str) -> None:
    if not value.strip():
        raise validate.ValidationError("is empty.")


def _long_enough(value: str) -> None:
    if value and len(value) < MIN_SECRET:
        raise validate.ValidationError(f"is shorter than {MIN_SECRET} characters.")


def _token(value: str) -> None:
    if value and not TOKEN.fullmatch(value):
        raise validate.ValidationError(
            f"must have {MIN_SECRET} characters or more: letters, digits and signs of ASCII, and no blanks."
        )


def _url(problem: Callable[[SplitResult], str | None], *schemes: str) -> Callable[[str], None]:
    """Return a validator of a URL, which checks its scheme and calls `problem` to check the rest."""

    def check(value: str) -> None:
        if not value:
            return
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        try:
            if BARE_PERCENT.search(value):
                raise ValueError
            url = urlsplit(value)
            wrong = f"is not a URL that starts with {wanted}." if url.scheme not in schemes else problem(url)
        except ValueError:  # an invalid port or an unbalanced bracket; the error may contain a password
            wrong = UNREADABLE
        if wrong:
            raise validate.ValidationError(wrong)

    return check


def _database(url: SplitResult) -> str | None:
    if url.scheme == "sqlite":
        if (url.netloc + url.path).strip("/") in ("", ":memory:"):
            return "must name a file: sqlite:///path/events.db."
        return ENDS_EARLY if url.query or url.fragment else None
    # libpq and other libraries parse different hosts from these, and would print a part of a password as a host.
    is_ambiguous = url.netloc.count("@") > 1 or "@" in url.path or url.fragment
    return UNREADABLE if is_ambiguous or ("@" in url.query and "@" not in url.netloc) else None


def _redis(url: SplitResult) -> str | None:
    if "@" in url.path or url.fragment:
        return UNREADABLE
    if url.scheme == "unix":
        return None if url.path else "must name a socket: unix:///path/redis.sock."
    if not url.hostname or url.port == 0:
        return "must name a host: redis://host:6379/0."
    return None if re.fullmatch(r"/?\d*", url.path) else "must end in a database's number: redis://host:6379/0."


def _storage(url: SplitResult) -> str | None:
    if url.scheme == "s3":
        is_right = BUCKET.fullmatch(url.netloc) and not url.query and not url.fragment
        return None if is_right else "must name a bucket, and may name a prefix: s3://bucket/prefix."
    if url.query or url.fragment:
        return ENDS_EARLY
    return "must name an absolute folder: file:///folder." if url.netloc or not url.path.strip("/") else None


def _endpoint(url: SplitResult) -> str | None:
    if not url.hostname or url.port == 0 or url.username or url.password:
        return "must name a host, and no password: https://s3.example.com."
    if ":" not in url.hostname and not all(LABEL.fullmatch(label) for label in url.hostname.split(".")):
        return "must name a host of letters, digits, dots and inner hyphens: https://s3.example.com."
    return "must end before ? and #." if url.query or url.fragment else None


def _public(url: SplitResult) -> str | None:
    if not url.hostname or url.port == 0 or "@" in url.netloc:
        return "must name a host, and no password: https://tally.example.com."
    if url.query or url.fragment:
        return "must end before ? and #."
    path = url.path.rstrip("/")
    if not BASE_PATH.fullmatch(path):
        return "has a path that is none such as /tally: letters, digits and - _ ~ . between single slashes."
    first = path[1:].partition("/")[0]
    return f"has a path that begins like one of the service's own: /{first}." if first in OWN_PATHS else None


def _path(value: str) -> None:
    if not re.fullmatch(r"/([A-Za-z0-9._-]+/)+", value):
        raise validate.ValidationError("is not a path such as /report-files/, with a slash at both ends.")


def _origins(values: list[str]) -> None:
    if not values:
        raise validate.ValidationError("is empty; leave it out, or name origins.")
    for value in values:
        parts = urlsplit(value)
        if value != "*" and not (parts.scheme and parts.netloc and not parts.path):
            raise validate.ValidationError(f"{value!r} is neither * nor an origin such as https://example.com.")


def _buckets(values: list[str]) -> None:
    for value in values:
        if not BUCKET.fullmatch(value):
            raise validate.ValidationError(f"{value!r} is not the name of a bucket, such as analysts-reports.")


def _host(value: str) -> str:
    return value.strip().lower()


def _hosts(values: list[str]) -> None:
    for value in values:
        if not HOST.fullmatch(value):
            raise validate.ValidationError(f"{value!r} is not a host such as tally.example.com, without a port.")


def _servers(values: list[str]) -> None:
    for value in values:
        try:
            named(value)
        except ValueError as error:
            shown = value.rpartition("@")[2]  # the part before it may be a password
            raise validate.ValidationError(
                f"{shown!r} {error}. Name hosts: hooks.example.com, hooks.example.com:8443, http://10.0.0.7:8080."
            ) from None


def _kept_secret(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_secret(path)
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingInvalid(f"DATA_DIR: cannot keep the secret key in {path}: {error.strerror}.") from error
    if len(secret) < MIN_SECRET:
        raise SettingInvalid(
            f"SECRET_KEY: the key kept in {path} has less than {MIN_SECRET} characters. "
            "Remove the file, and a new key is made."
        )
    return secret


def _make_secret(path: Path) -> None:
    """Write the key under a temporary name first, so that concurrent processes read the same complete key."""
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
