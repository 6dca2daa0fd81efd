"""The documentation: no link of it is dead, its generated pages are up to date, and it builds as a site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import reference
from tests.support.markdown import anchors, links
from tests.support.running import ROOT

DOCS = ROOT / "docs"
TOP = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "clients/python/README.md", "clients/js/README.md")
]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
OUTSIDE = re.compile(r"(https?|mailto):")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("document", PAGES, ids=name)
def test_no_link_leads_nowhere(document):
    dead = []
    for link in links(document):
        if OUTSIDE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_a_dead_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page, and its *title*\n\n[there](#a-page-and-its-title) [not](#nowhere) <img src='x.png'>\n")
    assert links(page) == {"#a-page-and-its-title", "#nowhere", "x.png"}
    assert anchors(page) == {"a-page-and-its-title"}


@pytest.mark.parametrize("document", reference.PAGES)
def test_the_reference_describes_this_version(document):
    written = (reference.FOLDER / document).read_text()
    assert written == reference.PAGES[document](), "Run: make docs"


def test_every_page_is_reached_from_the_readme():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        paths = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if not OUTSIDE.match(link)]
        todo += [path for path in paths if path.suffix == ".md" and path.exists()]
    assert {name(page) for page in PAGES} - {name(page) for page in reached} == set()


def build(builder: str, folder: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder, DOCS, folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")


def test_the_site_has_every_page_in_its_contents_and_no_warning(tmp_path):
    """Every page is read and every reference looked up, but nothing is written."""
    build("dummy", tmp_path)


@pytest.mark.soak
def test_the_site_is_written_with_its_pictures_and_the_anchors_of_alerts(tmp_path):
    """In `make test`: the pages are read, above; tests/deploy/test_monitoring.py looks for the headings of alerts."""
    build("html", tmp_path)
    front = (tmp_path / "index.html").read_text()
    for page in DOCS.rglob("*.md"):
        address = str(page.relative_to(DOCS).with_suffix(".html"))
        assert (tmp_path / address).is_file()
        assert f'href="{address}"' in front
    assert (tmp_path / "screenshots" / "overview-dark-1280.png").is_file()
    for page, anchor in re.findall(r"runbook_url: docs/(.+)\.md#(.+)", RULES.read_text()):
        assert f'id="{anchor}"' in (tmp_path / f"{page}.html").read_text(), f"{page}#{anchor}"
