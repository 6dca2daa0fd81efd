"""Every state that a badge shows: its word, icon, colour and meaning. The legends list them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask


@dataclass(frozen=True)
class State:
    """State as a badge shows it. Its colour alone never carries the meaning.

    Attributes:
        tone: the colour: good, accent, warning, bad, quiet or hollow.
        meaning: a sentence for the legend.
    """

    word: str
    icon: str
    tone: str
    meaning: str


REPORT = {
    "queued": State("Queued", "hourglass", "quiet", "Waiting for a worker."),
    "running": State("Running", "arrow-repeat", "accent", "A worker is writing the file."),
    "silent": State("No heartbeat", "question-circle", "warning", "Its worker stopped reporting. Another continues."),
    "paused": State("Paused", "pause-circle", "quiet", "Interrupted for a smaller report. It resumes automatically."),
    "COMPLETE": State("Complete", "check-circle", "good", "The file can be downloaded."),
    "TIMEOUT": State("Timed out", "clock-history", "warning", "Took longer than allowed. It can be retried."),
    "FAILED": State("Failed", "x-circle", "bad", "Every attempt failed. Its page shows why and can retry it."),
    "cancelled": State("Cancelled", "slash-circle", "quiet", "A user cancelled it."),
    "expired": State("Expired", "archive", "hollow", "Its file was removed at the end of its retention period."),
    "deleted": State("Deleted", "trash", "hollow", "A user deleted its file."),
}
SCHEDULE = {
    "active": State("Active", "check-circle", "good", "Starts reports on schedule."),
    "paused": State("Paused", "pause-circle", "quiet", "A user paused it."),
    "stopped": State("Stopped", "exclamation-triangle", "warning", "Cannot start reports. Its page shows why."),
}
WEBHOOK = {
    "enabled": State("Enabled", "check-circle", "good", "Receives its events."),
    "disabled": State("Disabled", "pause-circle", "quiet", "A user disabled it."),
    "stopped": State("Disabled", "exclamation-triangle", "warning", "Disabled by Tally. Its page shows why."),
}
DELIVERY = {
    "waiting": State("Waiting", "hourglass", "quiet", "Not delivered yet. Tally sends it, or tries again later."),
    "delivered": State("Delivered", "check-circle", "good", "The receiver confirmed it."),
    "given_up": State("Given up", "x-circle", "bad", "Every try failed. It can be sent again manually."),
}
ALERT = {
    "pending": State("Pending", "hourglass", "warning", "The condition holds, but not for long enough yet."),
    "firing": State("Firing", "bell", "bad", "The condition holds, and the rule's channels were notified."),
    "silenced": State("Silenced", "bell-slash", "quiet", "The condition holds, but a silence suppresses messages."),
    "resolved": State("Resolved", "check-circle", "good", "The condition no longer holds."),
}
RULE = {
    "active": State("Active", "check-circle", "good", "Evaluated every minute."),
    "off": State("Off", "pause-circle", "quiet", "Not evaluated."),
}
CHANNEL = {
    "working": State("Working", "check-circle", "good", "Its last message arrived."),
    "failing": State("Failing", "x-circle", "bad", "Its last message did not arrive. Its page shows why."),
    "untried": State("Not used yet", "circle", "quiet", "No message has been sent to it."),
    "off": State("Off", "pause-circle", "quiet", "Receives no messages."),
}
KEY = {
    "in_use": State("In use", "check-circle", "good", "Events sent with it are accepted."),
    "revoked": State("Revoked", "slash-circle", "quiet", "Events sent with it are rejected. This is permanent."),
}
TOKEN = {
    "active": State("Active", "check-circle", "good", "Programs can use it."),
    "expired": State("Expired", "slash-circle", "quiet", "Its expiry date has passed."),
    "revoked": State("Revoked", "slash-circle", "quiet", "A user revoked it."),
}
WORKER = {
    "busy": State("Busy", "arrow-repeat", "accent", "Writing a report, or a part of one."),
    "idle": State("Idle", "pause-circle", "quiet", "Waiting for a report."),
    "silent": State("Silent", "x-circle", "bad", "Stopped reporting, so it was killed or cannot reach Valkey."),
}
# States by their heading in the legend.
LEGEND = {
    "Reports": REPORT,
    "Recurring reports": SCHEDULE,
    "Workers": WORKER,
    "Alerts": ALERT,
    "Alert rules": RULE,
    "Alert channels": CHANNEL,
    "Webhooks": WEBHOOK,
    "Deliveries": DELIVERY,
    "Ingest keys": KEY,
    "API tokens": TOKEN,
}


def register(app: Flask) -> None:
    app.jinja_env.globals |= {"LEGEND": LEGEND, "WORKER_STATES": WORKER}
