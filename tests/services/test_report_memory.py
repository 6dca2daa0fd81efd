"""A report streams: six times as many rows take no more memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import FIRST
from tests.support.rows import fill

ROOT = Path(__file__).parents[2]
# SQLite fills its cache of 32 MB as it reads; 250,000 rows as Python objects would be more than 150 MB.
MOST_MIB = 45

# In a process of its own: a report of 50,000 rows, then one of 300,000, and the peak of each.
MEASURE = """
import re, sys
from pathlib import Path
from app import create_app
running = create_app().extensions["services"].running
for job in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: hashing a password took 64 MB
    running.run(job)
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize("delimiter", ["|", "§"])  # PostgreSQL's COPY writes the first itself
def test_the_memory_of_a_report_does_not_grow_with_its_rows(admin, services, settings, delimiter):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(300_000)
    jobs = [admin.start_report({"delimiter": delimiter}, end=FIRST + last)["job"] for last in (50_000, 300_000)]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *jobs],
        cwd=settings.data_dir.parent,
        env=os.environ | {
            "PYTHONPATH": str(ROOT), "DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url, "SECRET_KEY": settings.secret_key,
        },
        stdout=subprocess.PIPE,
        check=True,
    )  # fmt: skip
    small, large = map(int, measured.stdout.split())
    assert admin.availability(f"JOB-{jobs[1]}")["status"] == "COMPLETE"
    assert large - small < MOST_MIB
