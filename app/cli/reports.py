"""`flask reports`: the whole trip of a report, from a terminal."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click
import orjson

from app.cli.output import as_json, command, say, services
from app.schemas.reports import ReportRequestSchema, job, source
from app.services.accounts import SYSTEM
from app.store.models import Report

POLL_SECONDS = 0.5


@click.group()
def reports() -> None:
    """Reports: list, start, wait, download."""


@reports.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@as_json
@command
def list_reports(limit: int, as_json: bool) -> None:
    """List the newest reports of everyone."""
    found = services().reports.visible(SYSTEM, limit)
    say([job(report) for report in found], "\n".join(_line(report) for report in found), json=as_json)


@reports.command()
@click.option("--customer", required=True)
@click.option("--product", required=True)
@click.option("--type", "types", multiple=True, help="Only this event type; repeatable.")
@click.option("--start", help="The first millisecond since 1970.")
@click.option("--end", help="The last millisecond since 1970.")
@click.option("--delimiter", help="Between columns; default |.")
@click.option("--layout", help="columns or positional.")
@click.option("--header/--no-header", default=None, help="Whether the first row has the column names.")
@as_json
@command
def start(customer: str, product: str, types: tuple[str, ...], as_json: bool, **given: object) -> None:
    """Start a report and print its source."""
    filter = {"customer": customer, "product": product, "types": list(types) or None}
    filter |= {key: given.pop(key) for key in ("start", "end")}
    wanted = {"filter": _present(filter)}
    output = _present(given)
    if output:
        wanted["output"] = output
    checked = ReportRequestSchema().load_body(orjson.dumps(wanted))
    report = services().reports.start(SYSTEM, checked["filter"], checked.get("output"))
    say(job(report), source(report), json=as_json)


@reports.command()
@click.argument("name", metavar="SOURCE")
@click.option("--timeout", default=900, show_default=True, help="Seconds to wait at most.")
@as_json
@command
def wait(name: str, timeout: int, as_json: bool) -> None:
    """Wait until a report has ended; exit with 1 where it did not complete."""
    deadline = time.monotonic() + timeout
    report = services().reports.get(SYSTEM, name)
    while report.status == "RUNNING" and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        report = services().reports.get(SYSTEM, name)
    say(job(report), _line(report), json=as_json)
    raise SystemExit(0 if report.status == "COMPLETE" else 1)


@reports.command()
@click.argument("name", metavar="SOURCE")
@click.option("--output", "target", required=True, type=click.Path(dir_okay=False, path_type=Path))
@as_json
@command
def download(name: str, target: Path, as_json: bool) -> None:
    """Copy a report's file to a file of yours."""
    report = services().reports.get(SYSTEM, name)
    file = services().reports.path(report)
    try:
        shutil.copyfile(file, target)
    except OSError as error:
        raise click.ClickException(f"Cannot write {target}: {error.strerror}.") from error
    say({"file": str(target), "bytes": report.bytes}, f"Wrote {report.bytes} bytes to {target}.", json=as_json)


def _present(values: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _line(report: Report) -> str:
    rows = "" if report.rows is None else f", {report.rows} rows"
    reason = f": {report.reason}" if report.reason else ""
    return f"{source(report)} {report.status}{rows}, {report.customer} {report.product}{reason}"
