"""`tally reports`: manage reports from a terminal, from their start to their file."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import orjson

from app.cli.confirm import confirm, yes_option
from app.cli.file_options import file_options, output_of
from app.cli.output import command, say, services, utc
from app.cli.output_file import check_writable, output_file
from app.cli.params import Duration, limit_option, range_options
from app.cli.schedule import schedule
from app.cli.wait_for import until_ended
from app.schemas.progress import progress
from app.schemas.reports import STATUSES, ReportRequestSchema, job, source
from app.services.people.principal import SYSTEM
from app.services.reports.output import file_name
from app.store.models import Report, ReportAttempt

READ_BYTES = 1024 * 1024
SEVERAL = "Repeatable. With several, the file has a column for them."
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def reports() -> None:
    """Reports: list, show, start, wait, download, cancel, retry, delete; recurring reports: schedule."""


reports.add_command(schedule)


@reports.command("list")
@limit_option
@click.option("--status", type=click.Choice(STATUSES), help="Only reports with this status.")
@command
def list_reports(limit: int, status: str | None, as_json: bool) -> None:
    """List the newest reports of everyone."""
    found = services().reports.visible(SYSTEM, limit, status=status)
    lines = []
    for report in found:
        name = f', "{report.name}"' if report.name else ""
        types = f"types {', '.join(report.types)}" if report.types else "all types"
        period = f"from {_render_edge(report.start)} to {_render_edge(report.end)}"
        new = "accepted since the previous report"
        lines.append(_render(report, f"{name}, {types}, {period if report.snapshot_min_id is None else new}"))
    say([job(report) for report in found], "\n".join(lines), json=as_json)


@reports.command()
@click.argument("name", metavar="SOURCE")
@command
def show(name: str, as_json: bool) -> None:
    """Show a report: what was asked for, its progress, its file and each attempt of a worker."""
    report = services().reports.get(SYSTEM, name)
    known = progress(report, services().reports.place_in_queue(report))
    attempts = services().reports.attempts(report)
    shown = job(report) | {"user": report.account_name, "cancelled": bool(report.cancelled), "reason": report.reason}
    shown |= {"name": report.name} if report.name else {}
    shown["progress"] = known
    shown["attempts"] = [
        {
            "number": one.number,
            "worker": one.worker,
            "began": one.began_at,
            "ended": one.ended_at,
            "outcome": one.outcome,
            "reason": one.reason,
            "rows": one.rows,
        }
        for one in attempts
    ]
    say(shown, "\n".join(_render_details(report, known, attempts)), json=as_json)


@reports.command()
@click.option("--customer", "customers", required=True, multiple=True, help=SEVERAL)
@click.option("--product", "products", required=True, multiple=True, help=SEVERAL)
@click.option("--type", "types", multiple=True, help="Only this event type; repeatable.")
@range_options
@file_options
@click.option("--name", help="What the report is called in lists; without it, people see its filter.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit with 1 if it did not complete.")
@click.option("--output", "target", type=FILE, help="Wait, and copy the report's file here; replaces an existing file.")
@command
def start(
    customers: tuple[str, ...],
    products: tuple[str, ...],
    types: tuple[str, ...],
    name: str | None,
    wait: bool,
    target: Path | None,
    as_json: bool,
    **given: object,
) -> None:
    """Start a report and print its source; with --output FILE, also wait and copy its file."""
    filter = {
        "customers": list(customers),
        "products": list(products),
        "types": list(types),
        "start": given["start"],
        "end": given["end"],
    }
    wanted: dict[str, object] = {"filter": {name: value for name, value in filter.items() if value not in (None, [])}}
    if output := output_of(given):
        wanted["output"] = output
    checked = ReportRequestSchema().load_body(orjson.dumps(wanted))
    if target:
        check_writable(target)  # before the report starts
    report = services().reports.start(SYSTEM, checked["filter"], checked.get("output"), name=name)
    if not (wait or target):
        say(job(report), source(report), json=as_json)
        return
    report = until_ended(report, None)
    if target and report.status == "COMPLETE":
        _copy(report, target)
    _print_end(report, as_json)


@reports.command()
@click.argument("name", metavar="SOURCE")
@click.option("--timeout", default="15m", show_default=True, type=Duration(), help="How long to wait at most.")
@command
def wait(name: str, timeout: int, as_json: bool) -> None:
    """Wait until a report has ended; exit with 1 if it did not complete."""
    _print_end(until_ended(services().reports.get(SYSTEM, name), timeout), as_json)


@reports.command()
@click.argument("name", metavar="SOURCE")
@click.option(
    "--output",
    "target",
    default=".",
    type=click.Path(path_type=Path),
    help="The file, or the folder, for a file called after product and period; without it, the current folder.",
)
@command
def download(name: str, target: Path, as_json: bool) -> None:
    """Copy a report's file to a local file."""
    report = services().reports.get(SYSTEM, name)
    target = target / file_name(report) if target.is_dir() else target
    _copy(report, target)
    say({"file": str(target), "bytes": report.bytes}, f"Wrote {report.bytes} bytes to {target}.", json=as_json)


@reports.command()
@click.argument("name", metavar="SOURCE")
@command
def cancel(name: str, as_json: bool) -> None:
    """Cancel a running report; exit with 1 if it had already ended."""
    report = services().reports.get(SYSTEM, name)
    done = services().reports.cancel(SYSTEM, report)
    say({"source": name, "cancelled": done}, f"{name} {'is cancelled' if done else 'had already ended'}.", json=as_json)
    raise SystemExit(0 if done else 1)


@reports.command()
@click.argument("name", metavar="SOURCE")
@command
def retry(name: str, as_json: bool) -> None:
    """Run a report again that failed, timed out or was cancelled."""
    report = services().reports.retry(SYSTEM, services().reports.get(SYSTEM, name))
    say(job(report), f"{name} waits for a worker.", json=as_json)


@reports.command()
@click.argument("name", metavar="SOURCE")
@yes_option
@command
def delete(name: str, yes: bool, as_json: bool) -> None:
    """Cancel a report if it runs, and remove its file if there is one; it stays in the list."""
    report = services().reports.get(SYSTEM, name)
    confirm(f"Cancel {name} if it runs, and remove its file?", yes=yes)
    services().reports.delete(SYSTEM, report)
    say({"source": name}, f"{name} no longer has a file.", json=as_json)


def _copy(report: Report, target: Path) -> None:
    with output_file(target) as file, services().reports.open(report) as stream:
        shutil.copyfileobj(stream, file, READ_BYTES)


def _print_end(report: Report, as_json: bool) -> None:
    say(job(report), _render(report), json=as_json)
    raise SystemExit(0 if report.status == "COMPLETE" else 1)


def _render(report: Report, about: str = "") -> str:
    rows = "" if report.rows is None else f", {report.rows} rows"
    reason = f": {report.reason}" if report.reason else ""
    status = "CANCELLED" if report.cancelled else report.status
    return f"{source(report)} {status}{rows}, {report.customer} {report.product}{about}{reason}"


def _render_details(report: Report, known: dict[str, object], attempts: list[ReportAttempt]) -> list[str]:
    status = "CANCELLED" if report.cancelled else report.status
    lines = [f"{source(report)} {status}, started {utc(report.started_at)} by {report.account_name or 'nobody'}"]
    lines.append(f"  customer {report.customer}, product {report.product}, types {', '.join(report.types or ['all'])}")
    lines.append(f"  from {_render_edge(report.start)} to {_render_edge(report.end)}")
    if report.reason:
        lines.append(f"  {report.reason}")
    lines += [f"  {name}: {value}" for name, value in known.items() if name != "file"]
    file = known.get("file")
    if isinstance(file, dict):
        lines += [f"  file {name}: {value}" for name, value in file.items() if name != "expires"]
        lines.append(f"  file expires: {utc(file['expires'])}" if file["expires"] else "  file: removed")
    for one in attempts:
        because = f": {one.reason}" if one.reason else ""
        lines.append(f"  attempt {one.number} by {one.worker}, {one.outcome or 'running'}, {one.rows:,} rows{because}")
    return lines


def _render_edge(time: int | None) -> str:
    return "any time" if time is None else utc(time)
