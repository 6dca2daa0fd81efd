"""A terminal that types the shell blocks of a page, in order: a variable that one block sets is there in the next."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.pace import slack

END = "@@ the block has ended with"
BLOCK_SECONDS = 60
# A command that fails is noticed wherever it stands in the block, in a pipe too.
BEGIN = "set -Eo pipefail; trap 'failed=1' ERR\n"
# curl says nothing of its progress, and an answer of 400 or more is a failure.
CURLRC = "silent\nshow-error\nfail-with-body\n"


class Terminal:
    """A bash in a folder of its own.

    Args:
        folder: its working folder and home.
        environment: its variables.
        begin: the beginning of a command that runs elsewhere, such as in another network.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], begin: Sequence[str] = ()) -> None:
        (folder / ".curlrc").write_text(CURLRC)
        self.folder = folder
        self._blocks = 0
        self._bash = subprocess.Popen(
            [*begin, "bash", "--norc", "-s"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._type(BEGIN)

    def run(self, text: str) -> tuple[int, str]:
        """Run a block as it is written; return 0 or, if one of its commands failed, 1, and what it printed."""
        self._blocks += 1
        script = self.folder / f".block-{self._blocks}.sh"
        script.write_text(text)
        hung = threading.Timer(slack(BLOCK_SECONDS), self._bash.kill)
        hung.start()
        # Nothing that a block reads may be the next block.
        self._type(f'failed=0; source {script} </dev/null; echo; echo "{END} $failed"\n')
        lines: list[str] = []
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            if line.startswith(END):
                hung.cancel()
                return int(line.removeprefix(END)), "".join(lines)
            lines.append(line)
        hung.cancel()
        return 1, "".join(lines) + "\nThe block did not end."

    def close(self) -> None:
        """End the bash."""
        self._bash.communicate("exit\n")

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text)
        self._bash.stdin.flush()
