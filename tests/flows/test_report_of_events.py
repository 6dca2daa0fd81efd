"""An event in, a report out, inside one process."""

from __future__ import annotations

from tests.support.client import event


def test_a_report_has_the_events_that_were_accepted(admin):
    admin.send(event(context=["a|b", None, "", 'q"q', "two\nlines"]), event(type="X", context=["é"]))
    job, file = admin.run_report()
    assert job["status"] == "COMPLETE"
    assert file.decode() == (
        '1793000000000|PORTFOLIO-APPLICATION-LOADED|"a|b"||""|"q""q"|"two\nlines"\n1793000000000|X|é||||\n'
    )
