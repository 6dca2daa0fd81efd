"""A link opens one report's file, for a quarter of an hour, and cannot be made or changed by others."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from app.exceptions import LinkInvalid
from app.storage.links import LIFETIME_MS, Links

SOURCE = "JOB-0d3f5a52-7f6c-4d0a-9d5b-0c7f3b0a1e11"
NOW = 1_795_000_000_000
links = Links("https://tally.example/base", "a secret for the tests")


def parts(link: str) -> dict[str, str]:
    """A link's path and query, as `check` takes them."""
    url = urlsplit(link)
    return {"source": url.path.rpartition("/")[2]} | {key: one for key, (one,) in parse_qs(url.query).items()}


def opens(now: int = NOW, by: Links = links, **given: str) -> bool:
    try:
        by.check(given["source"], given["expires"], given["nonce"], given["signature"], now)
    except LinkInvalid:
        return False
    return True


def test_a_link_leads_to_the_file_under_the_public_url():
    link = links.make(SOURCE, NOW)
    assert link.startswith(f"https://tally.example/base/files/{SOURCE}?expires={NOW + LIFETIME_MS}&nonce=")


def test_a_link_opens_any_number_of_times_for_fifteen_minutes():
    given = parts(links.make(SOURCE, NOW))
    assert LIFETIME_MS == 15 * 60 * 1000
    assert all(opens(NOW + later, **given) for later in (0, 1, LIFETIME_MS - 1))
    assert not opens(NOW + LIFETIME_MS, **given)
    assert not opens(NOW + LIFETIME_MS + 1, **given)


def test_two_links_made_at_once_differ_and_both_open():
    made = {links.make(SOURCE, NOW) for _ in range(100)}
    assert len(made) == 100
    assert all(opens(**parts(link)) for link in made)


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
def test_a_changed_link_does_not_open(change):
    assert not opens(**(parts(links.make(SOURCE, NOW)) | change))


def test_letters_moved_from_one_part_to_another_do_not_open():
    given = parts(links.make(SOURCE, NOW))
    moved = given | {"nonce": f"{given['expires']}.{given['nonce']}", "expires": ""}
    assert not opens(**moved)


def test_the_signature_of_one_report_does_not_open_another():
    one, other = parts(links.make(SOURCE, NOW)), parts(links.make(SOURCE.replace("0d3f", "1d3f"), NOW))
    assert not opens(**(one | {"signature": other["signature"]}))


def test_a_link_signed_with_another_secret_does_not_open():
    stranger = Links("https://tally.example/base", "the secret of somebody else")
    assert not opens(**parts(stranger.make(SOURCE, NOW)))


def test_processes_that_share_the_secret_open_each_other_s_links():
    another_process = Links("https://tally.example/base", "a secret for the tests")
    assert opens(by=another_process, **parts(links.make(SOURCE, NOW)))
