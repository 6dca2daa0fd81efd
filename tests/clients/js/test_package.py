"""The package tally-client for npm: its size, its build, its types, and an installation without a network."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.clients.js.conftest import CLIENT
from tests.support.pace import slack

MAX_BYTES = 4096
PACKAGE = json.loads((CLIENT / "package.json").read_text())
SHIPPED = (CLIENT / "tally.js").read_text()


def test_the_file_has_at_most_4_kib_compressed():
    assert len(gzip.compress(SHIPPED.encode(), mtime=0)) <= MAX_BYTES


def test_the_file_is_what_the_build_makes_of_the_source():
    spec = importlib.util.spec_from_file_location("build_js", CLIENT / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    source = (CLIENT / "src" / "tally.js").read_text()
    assert build.build(source, PACKAGE["version"]) == SHIPPED, "Run: python clients/js/build.py"


def test_a_released_version_is_not_changed():
    for path in (CLIENT / "released").glob("*.js"):
        assert path.read_text() == SHIPPED or path.name != f"tally-{PACKAGE['version']}.js", "Increase the version."


def test_the_types_name_every_option_and_number():
    source, types = (CLIENT / "src" / "tally.js").read_text(), (CLIENT / "tally.d.ts").read_text()
    numbers = re.search(r"stats = \{(.*)\}", source)[1]
    options = re.search(r"interface Options \{(.*?)\n\}", types, re.DOTALL)[1]
    assert re.findall(r"(\w+):", numbers) == re.findall(
        r"^  (\w+):", re.search(r"interface Stats \{(.*?)\n\}", types, re.DOTALL)[1], re.MULTILINE
    )
    for option in re.findall(r"^  (\w+)\??:", options, re.MULTILINE):
        assert re.search(rf"\b{option}\b", source), option


def npm(node: str, *arguments: str, folder: Path) -> str:
    """Run npm, which comes with Node.js, without a network."""
    script = Path(node).resolve().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [node, str(script)] if script.exists() else [shutil.which("npm")]
    own = ["--offline", "--cache", str(folder / "cache"), "--no-audit", "--no-fund", "--loglevel", "error"]
    ran = subprocess.run([*command, *arguments, *own], cwd=folder, capture_output=True, text=True, timeout=slack(60))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_packed_package_is_installed_and_records(node, service, tmp_path):
    [packed] = json.loads(npm(node, "pack", str(CLIENT), "--json", folder=tmp_path))
    names = {file["path"] for file in packed["files"]}
    assert names == {"LICENSE", "README.md", "package.json", "src/tally.js", "tally.d.ts", "tally.js"}
    (tmp_path / "package.json").write_text('{"type": "module"}')
    npm(node, "install", str(tmp_path / packed["filename"]), folder=tmp_path)
    program = f"""
        import {{ Tally }} from "tally-client";
        const tally = new Tally({{ url: "{service.url}" }});
        tally.record("C", "P", "T", "packed");
        await tally.close();
    """
    (tmp_path / "shop.js").write_text(program)
    subprocess.run([node, "shop.js"], cwd=tmp_path, check=True, timeout=slack(60))
    assert service.contexts() == ["packed"]
