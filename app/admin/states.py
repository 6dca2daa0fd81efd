"""Every state that a badge shows: its word, icon, colour and meaning. The legend on the pages lists them from here."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask


@dataclass(frozen=True)
class State:
    """State as a badge shows it, which never relies on colour alone.

    Attributes:
        tone: its colour: good, accent, warning, bad, quiet or hollow.
        meaning: a sentence for the legend.
    """

    word: str
    icon: str
    tone: str
    meaning: str


REPORT = {
    "queued": State("Queued", "hourglass", "quiet", "Waits for a worker."),
    "running": State("Running", "arrow-repeat", "accent", "A worker is writing the file."),
    "silent": State("No heartbeat", "question-circle", "warning", "Its worker is silent. Another attempt continues."),
    "paused": State("Paused", "pause-circle", "quiet", "Made way for a smaller report, and continues by itself."),
    "COMPLETE": State("Complete", "check-circle", "good", "The file can be downloaded."),
    "TIMEOUT": State("Timed out", "clock-history", "warning", "Took longer than allowed. It can be retried."),
    "FAILED": State("Failed", "x-circle", "bad", "Every attempt failed. Its page says why, and retries it."),
    "cancelled": State("Cancelled", "slash-circle", "quiet", "A user cancelled it."),
    "expired": State("Expired", "archive", "hollow", "Its file was removed when its time was over."),
    "deleted": State("Deleted", "trash", "hollow", "A user deleted its file."),
}
SCHEDULE = {
    "active": State("Active", "check-circle", "good", "Starts reports at its times."),
    "paused": State("Paused", "pause-circle", "quiet", "A user paused it."),
    "stopped": State("Stopped", "exclamation-triangle", "warning", "Cannot start reports. Its page says why."),
}
WEBHOOK = {
    "enabled": State("Enabled", "check-circle", "good", "Gets its events."),
    "disabled": State("Disabled", "pause-circle", "quiet", "A user disabled it."),
    "stopped": State("Disabled", "exclamation-triangle", "warning", "Disabled by Tally. Its page says why."),
}
DELIVERY = {
    "waiting": State("Waiting", "hourglass", "quiet", "Is sent, or tried again later."),
    "delivered": State("Delivered", "check-circle", "good", "The receiver confirmed it."),
    "given_up": State("Given up", "x-circle", "bad", "No try succeeded. It can be sent again by hand."),
}
ALERT = {
    "pending": State("Pending", "hourglass", "warning", "The condition holds, but not long enough yet."),
    "firing": State("Firing", "bell", "bad", "The condition holds, and its channels were notified."),
    "silenced": State("Silenced", "bell-slash", "quiet", "Fires, but a silence holds back its messages."),
    "resolved": State("Resolved", "check-circle", "good", "The condition no longer holds."),
}
RULE = {
    "active": State("Active", "check-circle", "good", "Is evaluated every minute."),
    "off": State("Off", "pause-circle", "quiet", "Is not evaluated."),
}
CHANNEL = {
    "working": State("Working", "check-circle", "good", "Its last message arrived."),
    "failing": State("Failing", "x-circle", "bad", "Its last message did not arrive. Its page says why."),
    "untried": State("Not used yet", "circle", "quiet", "No message has been sent to it."),
    "off": State("Off", "pause-circle", "quiet", "Gets no messages."),
}
KEY = {
    "in_use": State("In use", "check-circle", "good", "Events with it are accepted."),
    "revoked": State("Revoked", "slash-circle", "quiet", "Events with it are rejected, for good."),
}
TOKEN = {
    "active": State("Active", "check-circle", "good", "Programs can use it."),
    "expired": State("Expired", "slash-circle", "quiet", "Its days are over."),
    "revoked": State("Revoked", "slash-circle", "quiet", "A user ended it."),
}
WORKER = {
    "busy": State("Busy", "arrow-repeat", "accent", "Writes a report, or a part of one."),
    "idle": State("Idle", "pause-circle", "quiet", "Waits for a report."),
    "silent": State("Silent", "x-circle", "bad", "Has not been heard, so it was killed or cannot reach Valkey."),
}
# By the heading that the legend gives them.
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
