"""The package tally-events as a newcomer gets it: a wheel in an empty environment, used in an empty folder."""

from __future__ import annotations

import zipfile
from email.parser import HeaderParser
from pathlib import Path

from app.version import VERSION
from tests.install.conftest import ROOT, Installed

FOLDERS = ("templates", "static", "deploy")
SOURCE = "clients/js/src/tally.js"


def test_the_wheel_has_every_template_static_file_and_configuration(wheel: Path):
    prefix = f"tally_events-{VERSION}.data/data/share/tally/"
    shipped = {name.removeprefix(prefix) for name in zipfile.ZipFile(wheel).namelist() if name.startswith(prefix)}
    files = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    files |= {str(path.relative_to(ROOT)) for path in (ROOT / "clients" / "js").rglob("tally*.js")} - {SOURCE}
    assert shipped == files


def test_the_wheel_has_every_module_and_nothing_of_the_tests(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "app").rglob("*.py")} | {"worker.py", "wsgi.py"}
    assert modules == {name for name in names if name.endswith(".py") and ".data/" not in name}


def test_the_source_distribution_and_the_wheel_have_the_same_version(packages: Path):
    assert sorted(path.name for path in packages.iterdir()) == [
        f"tally_events-{VERSION}-py3-none-any.whl",
        f"tally_events-{VERSION}.tar.gz",
    ]


def test_the_metadata_name_the_extras_and_the_command(wheel: Path):
    archive, folder = zipfile.ZipFile(wheel), f"tally_events-{VERSION}.dist-info"
    metadata = HeaderParser().parsestr(archive.read(f"{folder}/METADATA").decode())
    assert metadata["Name"] == "tally-events"
    assert {"parquet", "s3"} <= set(metadata.get_all("Provides-Extra"))
    assert archive.read(f"{folder}/entry_points.txt").decode().split() == [
        "[console_scripts]", "tally", "=", "app.cli.main:main",
    ]  # fmt: skip


def test_the_version_needs_neither_settings_nor_a_database(installed: Installed):
    assert installed.run("tally", "--version", PORT="none").stdout == f"tally {VERSION}\n"
    assert list(installed.folder.iterdir()) == []


def test_the_shell_completes_commands(installed: Installed):
    completed = installed.run("tally", _TALLY_COMPLETE="bash_complete", COMP_WORDS="tally us", COMP_CWORD="1")
    assert completed.stdout == "plain,user\n"


def test_a_folder_with_modules_of_another_project_is_refused(installed: Installed):
    (installed.folder / "app.py").write_text("raise SystemExit('not ours')")
    served = installed.run("tally", "serve")
    assert served.returncode == 1
    assert served.stderr == "Error: This folder has app.py of another project. Start Tally in a folder of its own.\n"
    assert installed.run("tally", "db", "check").stderr.startswith("Error: There is no database at ")
