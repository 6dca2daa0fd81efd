"""S3-compatible store: its clients, their timeouts, and its errors as messages."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config

from app.exceptions import StorageFailed

Client = Any  # boto3 creates its classes at run time
Check = Callable[[], None]  # raises when the attempt must stop

CHECK_SECONDS = 0.1  # between two calls of the check


@dataclass(frozen=True)
class Patience:
    """Timeouts of a call, which may take `attempts` times their sum."""

    connect_seconds: float
    read_seconds: float
    attempts: int


WORK = Patience(connect_seconds=3, read_seconds=20, attempts=3)  # transfer of a part of a file
ASK = Patience(connect_seconds=3, read_seconds=5, attempts=2)  # short request for which a caller waits
HURRY = Patience(connect_seconds=0.5, read_seconds=0.6, attempts=1)  # the same, for callers that can retry later
MISSING = ("NoSuchKey", "NotFound", "404")
CHANGED = ("PreconditionFailed", "412")
GONE = "NoSuchUpload"
DENIED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
BAD_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401")
FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "507")
CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class Store:
    """Clients of a store, each created when it is first used; safe for any number of threads.

    Credentials and region come from the usual AWS variables, files or roles, as boto3 finds them.

    Args:
        endpoint: empty means Amazon's own.
        public_endpoint: the address in links; empty means the endpoint.
    """

    def __init__(
        self, endpoint: str = "", public_endpoint: str = "", work: Patience = WORK, ask: Patience = ASK
    ) -> None:
        self._endpoint = endpoint
        self._public_endpoint = public_endpoint or endpoint
        self._work = work
        self._ask = ask
        self._lock = threading.Lock()
        self._sessions: list[Session] = []  # a single session, created when it is needed
        self._clients: dict[tuple[int, str, Patience], Client] = {}

    def hurried(self) -> Store:
        """Return the same store with the same clients, but with short timeouts for requests."""
        other = copy(self)
        other._ask = HURRY
        return other

    @property
    def work(self) -> Client:
        """Return the client that transfers files."""
        return self._client(self._endpoint, self._work)

    @property
    def ask(self) -> Client:
        """Return the client for requests with a short response."""
        return self._client(self._endpoint, self._ask)

    @property
    def sign(self) -> Client:
        """Return the client that signs links and sends nothing."""
        return self._client(self._public_endpoint, self._ask)

    def _client(self, endpoint: str, patience: Patience) -> Client:
        """Return a client of this process, because connections must not be shared after a fork."""
        key = (os.getpid(), endpoint, patience)
        with self._lock:
            if key not in self._clients:
                if not self._sessions:
                    self._sessions.append(Session(region_name=os.environ.get("AWS_REGION")))
                config = Config(
                    signature_version="s3v4",
                    connect_timeout=patience.connect_seconds,
                    read_timeout=patience.read_seconds,
                    retries={"mode": "standard", "total_max_attempts": patience.attempts},
                    # Other stores reject Amazon's checksums in trailers. Each request's signature covers its body.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    tcp_keepalive=True,
                )
                self._clients[key] = self._sessions[0].client("s3", endpoint_url=endpoint or None, config=config)
            return self._clients[key]


def never_stop() -> None:
    """Check that never requests a stop."""


def until_one_ends(calls: Iterable[Future[Any]], check: Check) -> None:
    """Return as soon as one of the calls has ended, with or without an error. Raise what `check` raises.

    A call to a store may hang for a minute, so it is made in a thread of its own, and a waiting caller can be stopped.
    The connection of an abandoned call cannot be closed, because boto3 does not expose it. Its thread ends with the
    call's own timeouts or with the process, whichever comes first.
    """
    while not wait(calls, CHECK_SECONDS, FIRST_COMPLETED).done:
        check()


@contextmanager
def storage_errors(bucket: str) -> Iterator[None]:
    """Raise StorageFailed instead of the store's errors, with a message that contains no address, key or signature."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError) as error:
        raise StorageFailed(_explain(error, bucket)) from error


def error_code(error: boto.ClientError) -> str:
    """Return the store's error code, or the status if there is none, as in responses to HEAD."""
    found = str(error.response.get("Error", {}).get("Code", ""))
    return found if CODE.fullmatch(found) else "an error"


def _explain(error: boto.ClientError | boto.BotoCoreError, bucket: str) -> str:
    match error:
        case boto.ClientError():
            code = error_code(error)
            if code in DENIED:
                return f"The S3 store denies access to the bucket {bucket} ({code})."
            if code in BAD_CREDENTIALS:
                return f"The S3 store does not take the credentials ({code}). Look at {CREDENTIALS}."
            if code in FULL:
                return f"The S3 store is full ({code})."
            if code == "NoSuchBucket":
                return f"The S3 store has no bucket {bucket}."
            if code == GONE:
                return "What was sent of the file was removed from the S3 store before it was whole."
            return f"The S3 store answered {code}."
        case boto.ConnectTimeoutError() | boto.ReadTimeoutError():
            return "The S3 store does not answer in time."
        case boto.SSLError():
            return "The S3 store's certificate is not accepted."
        case boto.EndpointConnectionError() | boto.ProxyConnectionError():
            return "The S3 store cannot be reached."
        case (
            boto.ConnectionError() | boto.HTTPClientError() | boto.ResponseStreamingError() | boto.IncompleteReadError()
        ):
            return "The S3 store broke the connection off."
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            return f"There are no credentials for the S3 store. Set {CREDENTIALS}."
    return f"The S3 store cannot be used ({type(error).__name__})."
