"""The memory of a report: streamed rows need a constant amount, and Parquet little more than its library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from tests.support.client import FIRST
from tests.support.pace import times
from tests.support.rows import fill

ROOT = Path(__file__).parents[3]
ROWS = times(200_000, 300_000)
# SQLite fills its cache of 32 MB while it reads. 150,000 rows as Python objects would need more than 90 MB.
MAX_GROWTH_MIB = 45

MAX_PARQUET_MIB = 105  # 44 for pyarrow, 32 for SQLite's cache; optional pyarrow imports would add 57

# In its own process: a report of 50,000 rows, then one of all rows, and the peak memory of each.
MEASURE = """
import re, sys
from pathlib import Path
from app import create_app
running = create_app().extensions["services"].runner
for job in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak: hashing a password took 64 MB
    running.run(job)
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""

# Like a worker: the memory that a report in joined parts needs in addition to that of the process.
MEASURE_PARQUET = """
import json, re, sys
from pathlib import Path
import worker
sys.meta_path.insert(0, worker.UnusedLibraries())
from app.services.reports import part_writer
part_writer.PART_ROWS, part_writer.WHOLE_ROWS = 100_000, 125_000
worker.logs.configure("text")
running = worker.start(worker.Settings.from_environment()).runner
def memory(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
running.run(sys.argv[1])
loaded = [name for name in ("numpy", "pandas", "pyarrow", "pyarrow.compute") if sys.modules.get(name)]
print(json.dumps([memory("VmHWM") - before, loaded]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize("delimiter", ["|", "§"])  # PostgreSQL's COPY writes the first one itself
def test_the_memory_of_a_report_does_not_grow_with_its_rows(admin, services, settings, delimiter):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(ROWS)
    jobs = [admin.start_report({"delimiter": delimiter}, end=FIRST + last)["job"] for last in (50_000, ROWS)]
    small, large = map(int, run_measurement(settings, MEASURE, *jobs).split())
    assert admin.availability(f"JOB-{jobs[1]}")["status"] == "COMPLETE"
    assert large - small < MAX_GROWTH_MIB


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_a_parquet_report_needs_little_more_memory_than_pyarrow(admin, settings):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(ROWS)
    job = admin.start_report({"format": "parquet"})["job"]
    memory, loaded = json.loads(run_measurement(settings, MEASURE_PARQUET, job))
    assert admin.availability(f"JOB-{job}")["status"] == "COMPLETE"
    assert loaded == ["pyarrow"]
    assert memory < MAX_PARQUET_MIB


def run_measurement(settings: Settings, code: str, *jobs: str) -> bytes:
    """Run code in a new process, and return its output."""
    return subprocess.run(
        [sys.executable, "-c", code, *jobs],
        cwd=settings.data_dir.parent,
        env=os.environ | {
            "PYTHONPATH": str(ROOT), "DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url, "SECRET_KEY": settings.secret_key,
        },
        stdout=subprocess.PIPE,
        check=True,
    ).stdout  # fmt: skip
