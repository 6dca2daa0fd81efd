"""The origin of a URL, parsed so strictly that no other parser can read it differently."""

from __future__ import annotations

import pytest

from app.support.url_origin import Origin, named, split

GOOD = [
    ("https://hooks.example.com", "https://hooks.example.com", "/"),
    ("https://hooks.example.com/a/b?c=d&e", "https://hooks.example.com", "/a/b?c=d&e"),
    ("https://Hooks.Example.COM:443/", "https://hooks.example.com", "/"),
    ("https://hooks.example.com:8443/x", "https://hooks.example.com:8443", "/x"),
    ("http://10.0.0.7:8080/x", "http://10.0.0.7:8080", "/x"),
    ("http://[::1]:9000/x", "http://[::1]:9000", "/x"),
    ("https://hooks.example.com?a=1", "https://hooks.example.com", "/?a=1"),
    ("https://hooks.example.com//evil.example/x", "https://hooks.example.com", "//evil.example/x"),
]
BAD = [
    ("hooks.example.com", "does not start with"),
    ("ftp://hooks.example.com", "does not start with"),
    ("file:///etc/passwd", "does not start with"),
    ("https:///path", "names no host"),
    ("https://", "names no host"),
    ("https://hooks.example.com:0/", "names no host"),
    ("https://hooks.example.com:99999/", "is not a URL"),
    ("https://hooks.example.com:port/", "is not a URL"),
    ("https://[::1/", "is not a URL"),
    ("https://user@hooks.example.com/", "names a user"),
    ("https://hooks.example.com:80@evil.example/", "names a user"),
    ("https://evil.example\\@hooks.example.com/", "has a character"),
    ("https://hooks.example.com/a b", "has a character"),
    ("https://hooks.example.com/\r\nHost: evil.example", "has a character"),
    ("https://hooks.example.com/\t", "has a character"),
    ("https://hoöks.example.com/", "has a character"),
    ("https://hooks.example.com/x#y", "has a #"),
    ("https://hooks.example.com./", "names no host"),
    ("https://hooks..example.com/", "names no host"),
    ("https://%68ooks.example.com/", "names no host"),
    ("https://*/", "names no host"),
    ("", "has a character"),
]


@pytest.mark.parametrize(("url", "origin", "asked"), GOOD)
def test_a_url_has_an_origin_and_a_request_target(url, origin, asked):
    found, wanted = split(url)
    assert (str(found), wanted) == (origin, asked)
    assert named(str(found)) == found


@pytest.mark.parametrize(("url", "why"), BAD)
def test_an_ambiguous_url_is_refused(url, why):
    with pytest.raises(ValueError, match=why):
        split(url)


def test_an_operator_may_name_a_host_and_means_https():
    assert named("hooks.example.com") == Origin("https", "hooks.example.com", 443)
    assert named("hooks.example.com:8443") == Origin("https", "hooks.example.com", 8443)
    assert named("http://hooks.example.com") == Origin("http", "hooks.example.com", 80)


@pytest.mark.parametrize("text", ["hooks.example.com/path", "https://hooks.example.com/?a", "https://a.example/?", "*"])
def test_an_operator_may_name_nothing_more_than_a_host(text):
    with pytest.raises(ValueError, match="names"):
        named(text)
