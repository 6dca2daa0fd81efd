"""A link opens the file of one report for 15 minutes and cannot be forged or changed."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from app.exceptions import LinkInvalid
from app.storage.links import LIFETIME_MS, Links

SOURCE = "JOB-0d3f5a52-7f6c-4d0a-9d5b-0c7f3b0a1e11"
NOW = 1_795_000_000_000
links = Links("https://tally.example/base", "a secret for the tests")


def parse_link(link: str) -> dict[str, str]:
    """Return the path and query of a link as arguments of `check`."""
    url = urlsplit(link)
    return {"source": url.path.rpartition("/")[2]} | {key: value for key, (value,) in parse_qs(url.query).items()}


def is_accepted(now: int = NOW, by: Links = links, **arguments: str) -> bool:
    try:
        by.check(arguments["source"], arguments["expires"], arguments["nonce"], arguments["signature"], now)
    except LinkInvalid:
        return False
    return True


def test_a_link_leads_to_the_file_under_the_public_url():
    link = links.make(SOURCE, NOW)
    assert link.startswith(f"https://tally.example/base/files/{SOURCE}?expires={NOW + LIFETIME_MS}&nonce=")


def test_a_link_can_be_opened_repeatedly_for_fifteen_minutes():
    arguments = parse_link(links.make(SOURCE, NOW))
    assert LIFETIME_MS == 15 * 60 * 1000
    assert all(is_accepted(NOW + later, **arguments) for later in (0, 1, LIFETIME_MS - 1))
    assert not is_accepted(NOW + LIFETIME_MS, **arguments)
    assert not is_accepted(NOW + LIFETIME_MS + 1, **arguments)


def test_links_made_at_the_same_time_differ_and_are_all_accepted():
    made_links = {links.make(SOURCE, NOW) for _ in range(100)}
    assert len(made_links) == 100
    assert all(is_accepted(**parse_link(link)) for link in made_links)


@pytest.mark.parametrize(
    "change",
    [
        {"source": SOURCE[:-1] + "2"},
        {"expires": str(NOW + LIFETIME_MS + 1)},
        {"expires": f"0{NOW + LIFETIME_MS}"},
        {"nonce": "another"},
        {"nonce": ""},
        {"signature": ""},
        {"signature": "A" * 43},
        {"signature": "ä"},
    ],
    ids=str,
)
def test_a_changed_link_is_rejected(change):
    assert not is_accepted(**(parse_link(links.make(SOURCE, NOW)) | change))


def test_characters_moved_between_parts_are_rejected():
    arguments = parse_link(links.make(SOURCE, NOW))
    moved = arguments | {"nonce": f"{arguments['expires']}.{arguments['nonce']}", "expires": ""}
    assert not is_accepted(**moved)


def test_a_signature_is_rejected_for_another_report():
    first, second = parse_link(links.make(SOURCE, NOW)), parse_link(links.make(SOURCE.replace("0d3f", "1d3f"), NOW))
    assert not is_accepted(**(first | {"signature": second["signature"]}))


def test_a_link_signed_with_another_secret_is_rejected():
    stranger = Links("https://tally.example/base", "the secret of somebody else")
    assert not is_accepted(**parse_link(stranger.make(SOURCE, NOW)))


def test_processes_with_the_same_secret_accept_each_other_s_links():
    another_process = Links("https://tally.example/base", "a secret for the tests")
    assert is_accepted(by=another_process, **parse_link(links.make(SOURCE, NOW)))
