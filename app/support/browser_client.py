"""The JavaScript client as pages load it: each shipped version by its hash.

`clients/js/released/` has the client of each release. A page that names one by its hash, and requires it with
`integrity`, therefore continues to work after an upgrade.
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256, sha384
from pathlib import Path

from app.support.shipped import shipped

NAME = "tally.js"
HASH_CHARACTERS = 16


@dataclass(frozen=True)
class BrowserClient:
    """A version of the client.

    Attributes:
        hash: the beginning of its SHA-256, which addresses it.
        integrity: what a page may require, as Subresource Integrity has it.
    """

    content: bytes
    compressed: bytes
    hash: str
    integrity: str


def current() -> BrowserClient:
    """Return the client of this version of the service."""
    return next(iter(versions().values()))


@cache
def versions(folder: Path | None = None) -> dict[str, BrowserClient]:
    """Return every shipped version by its hash, the current one first."""
    found = map(_load, _files(folder or shipped("clients/js")))
    return {client.hash: client for client in found}


def _files(folder: Path) -> Iterator[Path]:
    yield folder / NAME
    yield from sorted((folder / "released").glob("*.js"))


def _load(path: Path) -> BrowserClient:
    content = path.read_bytes()
    integrity = f"sha384-{b64encode(sha384(content).digest()).decode()}"
    return BrowserClient(
        content, gzip.compress(content, mtime=0), sha256(content).hexdigest()[:HASH_CHARACTERS], integrity
    )
