"""Results of a benchmark: figures, each with what it was compared with and whether it met its goal.

Ratios hold across machines and absolute numbers do not, so a goal is for the ratio where there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.servers import BenchFailed, interruptible

LOOK_SECONDS = 1
IDLE, WAITING = 3, 4  # positions in /proc/stat
BUSY = 0.15  # share of the processors' time


@dataclass(frozen=True)
class Goal:
    """A bound for a figure's ratio, or for its value if it has no ratio."""

    bound: float
    at_most: bool = False

    def met(self, number: float) -> bool:
        """Return whether a number is within the bound."""
        return number <= self.bound if self.at_most else number >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        name: what was measured, for people.
        value: the number itself, a median if it was measured more than once.
        unit: of the value.
        against: what the ratio is to, or None.
        ratio: the median of the rounds' ratios, or None.
        goal: the bound, or None.
    """

    name: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Return whether the goal is met, or None if there is none."""
        return self.goal.met(self.value if self.ratio is None else self.ratio) if self.goal else None

    def record(self) -> dict[str, object]:
        """Return the figure as written to a file."""
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "against": self.against,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "goal": str(self.goal) if self.goal else None,
            "met": self.met,
        }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text in columns, the first aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def goals(figures: Sequence[Figure]) -> str:
    """Return a table of the figures with goals, and whether each is met."""
    wanted = [figure for figure in figures if figure.goal]
    rows = [
        [
            figure.name,
            f"{figure.value:,.0f} {figure.unit}",
            figure.against or "",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            str(figure.goal),
            "yes" if figure.met else "NO",
        ]
        for figure in wanted
    ]
    met = sum(bool(figure.met) for figure in wanted)
    head = ("figure", "value", "against", "ratio", "goal", "met")
    return f"{table(head, rows)}\n\n{met} of {len(wanted)} goals met."


def write(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures as a JSON list."""
    text = json.dumps([figure.record() for figure in figures], indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def progress(text: str = "") -> None:
    """Show on a terminal what is being measured, in place of the previous text; nothing in a file."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a lasting line in place of what is being measured."""
    progress()
    print(text, flush=True)


def others_share() -> float:
    """Return the share of the processors' time in use now, before a benchmark has started anything."""
    before = _processor_times()
    time.sleep(LOOK_SECONDS)
    spent = [after - earlier for after, earlier in zip(_processor_times(), before, strict=True)]
    return 1 - (spent[IDLE] + spent[WAITING]) / max(1, sum(spent))


def _processor_times() -> list[int]:
    """Return the time of all processors since the start, by kind (proc(5), /proc/stat)."""
    return [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


Benchmark = Callable[..., list[Figure]]  # True for the short form; and, if the benchmark has pieces, the selected ones


def command(
    name: str, description: str, benchmark: Benchmark, pieces: Sequence[str] = (), *, rows: int | None = None
) -> None:
    """Run a benchmark as `python -m bench…` does: print the goals, and write the file.

    Args:
        pieces: parts of the benchmark that can run without the others.
        rows: the default number of events, for a benchmark that takes it.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    if pieces:
        parser.add_argument("--only", action="append", choices=pieces, help="this piece only; repeatable")
    if rows:
        parser.add_argument("--rows", type=int, default=rows, metavar="N", help=f"events stored ({rows:,})")

    def selected(given: argparse.Namespace) -> list[object]:
        return ([given.only or pieces] if pieces else []) + ([given.rows] if rows else [])

    run_command(parser, lambda given: benchmark(given.short, *selected(given)))


def run_command(parser: argparse.ArgumentParser, benchmark: Callable[[argparse.Namespace], list[Figure]]) -> None:
    """Run a benchmark with the options of a parser: print the goals, and write the file."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, as a JSON list")
    arguments = parser.parse_args()
    if (busy := others_share()) > BUSY:
        print(f"Other programs use {busy:.0%} of this machine: even ratios won't be right.\n", file=sys.stderr)
    began = time.monotonic()
    try:
        with interruptible():
            figures = benchmark(arguments)
    except BenchFailed as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; everything that was started is stopped.")
    print(f"\n{goals(figures)} It took {time.monotonic() - began:.0f} s.")
    if arguments.json:
        write(figures, arguments.json)
