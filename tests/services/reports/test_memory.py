"""A report streams: six times as many rows take no more memory. Parquet takes what it needs, and no library more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from tests.support.client import FIRST
from tests.support.rows import fill

ROOT = Path(__file__).parents[3]
# SQLite fills its cache of 32 MB as it reads; 250,000 rows as Python objects would be more than 150 MB.
MOST_MIB = 45

PARQUET_MIB = 105  # of them 44 for pyarrow and 32 for the cache of SQLite; 57 more with what pyarrow loads when it may

# In a process of its own: a report of 50,000 rows, then one of 300,000, and the peak of each.
MEASURE = """
import re, sys
from pathlib import Path
from app import create_app
running = create_app().extensions["services"].runner
for job in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: hashing a password took 64 MB
    running.run(job)
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""

# As a worker: what a report in parts, joined, takes beside what the process had before.
MEASURE_PARQUET = """
import json, re, sys
from pathlib import Path
import worker
sys.meta_path.insert(0, worker.UnusedLibraries())
from app.services.reports import planning
planning.PART_ROWS, planning.WHOLE_ROWS = 100_000, 125_000
running = worker.create_app().extensions["services"].runner
def memory(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
running.run(sys.argv[1])
loaded = [name for name in ("numpy", "pandas", "pyarrow", "pyarrow.compute") if sys.modules.get(name)]
print(json.dumps([memory("VmHWM") - before, loaded]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize("delimiter", ["|", "§"])  # PostgreSQL's COPY writes the first itself
def test_the_memory_of_a_report_does_not_grow_with_its_rows(admin, services, settings, delimiter):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(300_000)
    jobs = [admin.start_report({"delimiter": delimiter}, end=FIRST + last)["job"] for last in (50_000, 300_000)]
    small, large = map(int, measured(settings, MEASURE, *jobs).split())
    assert admin.availability(f"JOB-{jobs[1]}")["status"] == "COMPLETE"
    assert large - small < MOST_MIB


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_a_worker_s_parquet_takes_pyarrow_s_memory_and_little_more(admin, settings):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(300_000)
    job = admin.start_report({"format": "parquet"})["job"]
    taken, loaded = json.loads(measured(settings, MEASURE_PARQUET, job))
    assert admin.availability(f"JOB-{job}")["status"] == "COMPLETE"
    assert loaded == ["pyarrow"]
    assert taken < PARQUET_MIB


def measured(settings: Settings, code: str, *jobs: str) -> bytes:
    """What a process of its own prints."""
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
