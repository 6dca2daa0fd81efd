"""Judges each rule by the events that were counted: which of its series are not as they should be.

A series without a verdict is as it should be. `Level.BORDER` neither starts nor ends an alert, and `Level.UNKNOWN`
means that it cannot be judged now.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from app.schemas.alerts import CUSTOMER, HEALTH, PRODUCT, REJECTED, THRESHOLD, TYPE, VOLUME
from app.services.alerts.normal import WINDOWS, Normal
from app.store.alerts import counts
from app.store.alerts import evaluation as store
from app.store.alerts.counts import Kind, LearntRow, Recent, Series
from app.store.models import Alert, AlertRule
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS

T = TypeVar("T")

COLUMNS: dict[str, tuple[str, ...]] = {PRODUCT: ("product",), TYPE: ("product", "type"), CUSTOMER: ("customer",)}
# How far the level of the hours before a silence lowers what is expected in it, so that a quiet day is no alert.
LEVEL_HOURS = (3, 6, 24)
LEVEL_EVENTS = 3.0  # added to both numbers, because few events say little
LEAST_LEVEL = 0.6  # so that a silence is found within twice the limit
CARRIED = 0.9  # of the limit, for what is missing from the days before: it was no alert then
MAX_LEVELS = 50  # maximum number of silent series whose level is read in one evaluation
# A day counts as a holiday if a quarter of the other series, without silent ones, have less than half of normal.
LEAST_OTHERS, OTHERS_EVENTS, HOLIDAY_LEVEL = 3, 5.0, 0.5
OTHERS_STEP_MS = 10 * MINUTE_MS
RECENT_MS = WINDOWS[-1] * HOUR_MS
LATE_MS = HOUR_MS  # events that normally arrive later than this leave the newest hours incomplete
HYSTERESIS = 0.8
UNKNOWN_CODE = "unknown products"
FAILED_MS = HOUR_MS  # how long a failed report or webhook is a problem
KNOWN_BY_REDIS = {"worker", "scheduler"}

ByHour = Callable[[Series, int, int], Mapping[int, int]]
Key = tuple[str, str, str, str]  # customer, product, type, subject
HealthChecks = Callable[[], Sequence[tuple[str, str | None]]]  # returns names and problems


class Level(enum.Enum):
    """Result for a series that is not plainly as it should be."""

    WRONG = "wrong"
    BORDER = "border"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Verdict about a series or a health check.

    Attributes:
        since_at: when the condition began.
    """

    level: Level
    title: str = ""
    seen: str = ""
    expected: str = ""
    since_at: int = 0
    details: Mapping[str, object] = field(default_factory=dict)


UNKNOWN = Verdict(Level.UNKNOWN)


@dataclass(frozen=True)
class Learnt:
    """What was learnt about a series, when, and when it had its last event by then."""

    normal: Normal
    learnt_at: int
    last_event_at: int

    @classmethod
    def of(cls, row: LearntRow) -> Learnt:
        """Return a row of the table as it is used."""
        return cls(Normal.load(row.rates, row.statistics), row.learnt_at, row.last_event_at or 0)


@dataclass(frozen=True)
class Moment:
    """What all rules of an evaluation share.

    Attributes:
        now: time of the evaluation.
        counted_at: time up to which the received events are counted; None if it is not known.
        resumed_at: since when there was no gap between evaluations.
        unresolved: the unresolved alerts of each rule.
        stopped: when a series had an alert that its events stopped: the time of its end, or `now` if it has not ended.
    """

    now: int
    counted_at: int | None
    resumed_at: int
    unresolved: Mapping[int, Mapping[Key, Alert]]
    stopped: Mapping[Series, int]
    cache: dict[tuple[str, str], Any] = field(default_factory=dict)  # what several rules read

    def recent(self, kind: Kind) -> Mapping[Series, Recent]:
        """Return the recent events of the series of a kind, up to `counted_at`.

        Those of all products are added up from those of each product, which are usually read as well.
        """
        if kind.columns or PRODUCT in kind.codes:
            return self._once("recent", kind, lambda: counts.recent(kind, self.counted_at or 0, WINDOWS))
        products = self.recent(Kind(COLUMNS[PRODUCT], kind.codes)).values()
        if not products:
            return {}
        last, current, sums = zip(*products, strict=True)
        return {kind.reader()(()): Recent(max(last), sum(current), tuple(map(sum, zip(*sums, strict=True))))}

    def known(self, kind: Kind) -> Mapping[Series, Learnt]:
        """Return what was learnt about the series of a kind."""
        return self._once("known", kind, lambda: {one: Learnt.of(row) for one, row in counts.normals(kind).items()})

    def _once(self, what: str, kind: Kind, read: Callable[[], T]) -> T:
        key = (what, repr(kind))
        if key not in self.cache:
            self.cache[key] = read()
        found: T = self.cache[key]
        return found


Verdicts = dict[Key, Verdict]


def kind_of(rule: AlertRule) -> Kind:
    """Return which series a rule watches."""
    codes = {name: getattr(rule, name) for name in Series._fields if getattr(rule, name) is not None}
    return Kind(tuple(name for name in COLUMNS.get(rule.per, ()) if name not in codes), codes)


def judge(rule: AlertRule, moment: Moment, health: HealthChecks) -> Verdicts | None:
    """Return the verdicts of a rule, or None if it cannot be judged now."""
    if rule.kind == HEALTH:
        return _health(rule, moment, health)
    if moment.counted_at is None:
        return None
    if rule.kind == REJECTED:
        return _rejected(rule, moment)
    kind = kind_of(rule)
    recent = moment.recent(kind)
    if rule.kind == THRESHOLD:
        return _threshold(rule, kind, moment.counted_at, recent)
    rows = moment.known(kind)
    known = {series: row.normal for series, row in rows.items()}
    if rule.kind == VOLUME:
        return judge_volume(rule, moment, moment.counted_at, recent, known)
    last = {series: row.last_event_at for series, row in rows.items()}
    last |= {one: max(seen.last_at, last.get(one, 0)) for one, seen in recent.items()}
    verdicts = judge_stopped(rule, moment, moment.counted_at, recent, known, last, counts.by_hour)
    oldest = moment.now - RECENT_MS  # events between an older learning and the recent hours would be overlooked
    overlooked = (one for one, row in rows.items() if row.learnt_at < oldest and one not in recent)
    return verdicts | {(*series, ""): UNKNOWN for series in overlooked}


# Events stopped.


def judge_stopped(
    rule: AlertRule,
    moment: Moment,
    now: int,
    recent: Mapping[Series, Recent],
    known: Mapping[Series, Normal],
    last: Mapping[Series, int],
    by_hour: ByHour,
) -> Verdicts:
    """Return the series that are silent for longer than normal.

    Args:
        now: the time up to which events are counted.
        last: time of the last event of each series.
        by_hour: returns the number of events of a series in each hour between two times.
    """
    found: Verdicts = {}
    candidates: list[tuple[Series, int, int, float]] = []
    unresolved = moment.unresolved.get(rule.id, {})
    floor = rule.parameters["minutes"] * MINUTE_MS
    for series, normal in known.items():
        event = min(now, last.get(series, 0))
        alert = unresolved.get((*series, ""))
        if alert and alert.firing_at is not None and normal.is_known and event <= alert.details["last_event_at"]:
            found[(*series, "")] = _silence(normal, event, now, alert.details["level"])  # however much is normal now
            continue
        start = max(event + normal.statistics.lag_ms, moment.resumed_at)
        if normal.is_known and now - start >= floor:
            expected = normal.expected(start, now)
            if expected >= normal.silence_limit:
                candidates.append((series, event, start, expected))
    others = _Others(now, recent, known)
    for number, (series, event, start, expected) in enumerate(candidates):
        normal = known[series]
        reads = number < MAX_LEVELS
        hours = by_hour(series, event - RECENT_MS - HOUR_MS, event) if reads and event > now - DAY_MS else {}
        before, after = others.expected(series, start, now, hours)
        missing = min(before, CARRIED * normal.silence_limit) + after
        if missing >= normal.silence_limit and reads:
            hours = hours or by_hour(series, event - RECENT_MS - HOUR_MS, event)
            missing *= _own_level(normal, event, hours)
        if missing >= normal.silence_limit:
            found[(*series, "")] = _silence(normal, event, now, missing / expected)
    return found


def _silence(normal: Normal, event: int, now: int, level: float) -> Verdict:
    expected, limit = normal.expected(event, now), normal.silence_limit
    most = _number(limit / level)
    words = f"About {_number(expected)} events are normal in that time. A silence of {most} is an alert."
    seen = f"No event since {_time(event)}, for {duration(now - event)}."
    details = {
        "last_event_at": event,
        "expected": round(expected, 1),
        "limit": round(limit, 1),
        "level": round(level, 2),
    }
    return Verdict(Level.WRONG, "Events stopped", seen, words, event, details)


def _own_level(normal: Normal, event: int, hours: Mapping[int, int]) -> float:
    """Return by how much the hours before a silence were below normal: 1 if they were not."""
    last = event // HOUR_MS * HOUR_MS
    level = 1.0
    for length in LEVEL_HOURS:
        begin = last - length * HOUR_MS
        seen = sum(number for hour, number in hours.items() if hour >= begin)
        level = min(level, (seen + LEVEL_EVENTS) / (normal.expected(begin, event) + LEVEL_EVENTS))
    return max(LEAST_LEVEL, level)


class _Others:
    """Compares the other series of a rule with normal, since some time."""

    def __init__(self, now: int, recent: Mapping[Series, Recent], known: Mapping[Series, Normal]) -> None:
        self._now, self._recent, self._known = now, recent, known
        self._ratios: dict[int, list[float]] = {}

    def expected(self, series: Series, since: int, until: int, hours: Mapping[int, int]) -> tuple[float, float]:
        """Return how many events to expect from a series between two times, before and since midnight of UTC.

        On a holiday, a series has no more than on its quietest day of the week, and than most of the others, unless it
        had more since midnight. The days before a midnight and after it are usual or not independently.

        Args:
            hours: number of events of the series in the hours before the silence.
        """
        normal, midnight = self._known[series], until // DAY_MS * DAY_MS
        if since >= midnight:
            usual = normal.expected(midnight, since) if hours else 0.0
            own = sum(number for hour, number in hours.items() if hour >= midnight)
            least = own / usual if usual >= OTHERS_EVENTS else 0.0
            return 0.0, normal.expected(since, until) * max(least, self.level(series, since, until))
        before = normal.expected(since, midnight) * self.level(series, since, midnight)
        return before, normal.expected(midnight, until) * self.level(series, midnight, until)

    def level(self, series: Series, since: int, until: int) -> float:
        """Return which share of normal to expect from a series between two times: 1 unless there is a holiday."""
        step = OTHERS_STEP_MS if self._now - since < 2 * HOUR_MS else HOUR_MS
        begin = max(self._now - DAY_MS, -(-since // step) * step)
        if begin not in self._ratios:
            known = (self._ratio(one, begin) for one in self._known)
            self._ratios[begin] = sorted(ratio for ratio in known if ratio is not None)
        ratios, normal = self._ratios[begin], self._known[series]
        if len(ratios) < LEAST_OTHERS or (low := ratios[(len(ratios) - 1) // 4]) >= HOLIDAY_LEVEL:
            return 1.0
        quietest = normal.expected_on_quietest_day(since, until)
        return min(low, quietest / max(quietest, normal.expected(since, until), 1e-9))

    def _ratio(self, series: Series, since: int) -> float | None:
        normal, seen = self._known[series], self._recent.get(series)
        if seen is None or seen.last_at < since or normal.expected(since, self._now) < OTHERS_EVENTS:
            return None
        hour = self._now // HOUR_MS * HOUR_MS
        length = min((0, *WINDOWS), key=lambda w: abs(hour - w * HOUR_MS - since))
        expected = normal.expected(hour - length * HOUR_MS, self._now)
        number = seen.current + (seen.sums[WINDOWS.index(length)] if length else 0)
        return number / expected if expected >= OTHERS_EVENTS else None


# Volume, thresholds, rejected events.


def judge_volume(
    rule: AlertRule, moment: Moment, now: int, recent: Mapping[Series, Recent], known: Mapping[Series, Normal]
) -> Verdicts:
    """Return the series whose volume is far from normal; see `judge_stopped`."""
    found: Verdicts = {}
    end = now // HOUR_MS * HOUR_MS
    others = _Others(now, recent, known)
    direction = rule.parameters["direction"]
    for series, normal in known.items():
        key = (*series, "")
        window = normal.window(end) if normal.is_known and normal.statistics.lag_ms < LATE_MS else None
        if window is None:
            found[key] = UNKNOWN
            continue
        begin = end - window * HOUR_MS
        expected = normal.expected(begin, end)
        seen = recent[series].sums[WINDOWS.index(window)] if series in recent else 0
        factor = max(rule.parameters["factor"], normal.statistics.spread)
        excess = seen / expected if seen > expected else expected / max(seen, 1)
        is_drop = seen < expected
        if excess < factor * HYSTERESIS or direction == ("rise" if is_drop else "drop"):
            continue
        if is_drop and moment.stopped.get(series, 0) > begin:  # that alert says enough
            found[key] = UNKNOWN
            continue
        excess *= others.level(series, begin, end) if is_drop else 1.0
        if excess < factor * HYSTERESIS:
            continue
        level = Level.WRONG if excess >= factor else Level.BORDER
        within = "in the last complete hour" if window == 1 else f"in the last {window} complete hours"
        words = (
            f"About {_number(expected)} events are normal in that time; {_number(factor)} times more or less is far."
        )
        details = {"events": seen, "expected": round(expected, 1), "hours": window, "factor": round(factor, 1)}
        title = "Volume far below normal" if is_drop else "Volume far above normal"
        found[key] = Verdict(level, title, f"{seen:,} {_events(seen)} {within}.", words, begin, details)
    return found


def _threshold(rule: AlertRule, kind: Kind, now: int, recent: Mapping[Series, Recent]) -> Verdicts:
    found: Verdicts = {}
    limit, is_more, is_hour = (rule.parameters[name] for name in ("events", "direction", "period"))
    is_more, is_hour = is_more == "more", is_hour == "hour"
    hours = 1 if is_hour else 24
    end = now // HOUR_MS * HOUR_MS
    for series in counts.of_kind(kind):
        seen = recent.get(series, Recent(0, 0, (0,) * len(WINDOWS)))
        number = seen.sums[WINDOWS.index(hours)]
        since, within = (
            end - hours * HOUR_MS,
            "in the last complete hour" if is_hour else "in the last 24 complete hours",
        )
        if is_more and is_hour and seen.current > number:
            number, since, within = seen.current, end, "in this hour"
        if number > limit if is_more else number < limit:
            level = Level.WRONG
        elif number > limit * HYSTERESIS if is_more else number < limit / HYSTERESIS:
            level = Level.BORDER
        else:
            continue
        words = f"The rule expects {'at most' if is_more else 'at least'} {limit:,} per {rule.parameters['period']}."
        title = f"{'More' if is_more else 'Fewer'} events than {limit:,} per {rule.parameters['period']}"
        details = {"events": number, "expected": limit, "hours": hours}
        found[(*series, "")] = Verdict(level, title, f"{number:,} {_events(number)} {within}.", words, since, details)
    return found


def _rejected(rule: AlertRule, moment: Moment) -> Verdicts:
    begin = (moment.now // HOUR_MS - 1) * HOUR_MS
    rejected = store.rejected_by_product(begin)
    if rule.per != PRODUCT and rule.product is None:
        return _judge_rejected(rule, begin, "", sum(rejected.values()), None)
    known = {series.product for series in counts.of_kind(Kind(("product",), {}))}
    found: Verdicts = {}
    unknown = 0
    for product, number in rejected.items():
        if product not in known:
            unknown += number
        elif rule.product in (None, product):
            found |= _judge_rejected(rule, begin, product, number, product)
    if unknown >= rule.parameters["minimum"] and rule.product is None:
        seen = f"{unknown:,} events of {UNKNOWN_CODE} rejected since {_time(begin)}."
        verdict = Verdict(Level.WRONG, "Many rejected events", seen, "", begin, {"rejected": unknown})
        found["", "", "", UNKNOWN_CODE] = verdict
    return found


def _judge_rejected(rule: AlertRule, begin: int, code: str, number: int, product: str | None) -> Verdicts:
    percent, minimum = rule.parameters["percent"], rule.parameters["minimum"]
    if number < minimum * HYSTERESIS:
        return {}
    enough = int(number * (100 / (percent * HYSTERESIS) - 1)) + 1  # accepted events that make the share small
    accepted = store.accepted_since(begin, product, enough)
    share = 100 * number / (number + accepted)
    if share < percent * HYSTERESIS:
        return {}
    level = Level.WRONG if share > percent and number >= minimum else Level.BORDER
    seen = f"{number:,} of {number + accepted:,} events rejected since {_time(begin)}, {share:.1f} %."
    details = {"rejected": number, "accepted": accepted, "percent": round(share, 1)}
    words = f"The rule allows {percent} %."
    return {("", code, "", ""): Verdict(level, "Many rejected events", seen, words, begin, details)}


# The service's own health.


def _health(rule: AlertRule, moment: Moment, checks: HealthChecks) -> Verdicts:
    problems = dict(checks())
    since = moment.now - FAILED_MS
    if reports := store.failed_reports(since):
        more = f"{len(reports)} reports have failed within an hour" if len(reports) > 1 else "A report has failed"
        problems["report"] = f"{more}; the last one is JOB-{reports[0]}."
    if webhooks := store.failed_webhooks(since):
        problems["webhook"] = (
            f"{webhooks} webhook{'s' if webhooks > 1 else ''} could not be delivered and were given up."
        )
    chosen = rule.parameters["checks"] or list(problems)
    found: Verdicts = {}
    for name in chosen:
        if name in KNOWN_BY_REDIS and problems.get("redis"):
            found["", "", "", name] = UNKNOWN
        elif problem := problems.get(name):
            found["", "", "", name] = Verdict(Level.WRONG, f"Problem with {name}", problem, "", moment.now)
    return found


# Words.


def label(alert: Alert) -> str:
    """Return what an alert is about, in a few words."""
    if alert.subject:
        return alert.subject
    names = {"customer": alert.customer, "product": alert.product, "type": alert.type}
    return ", ".join(f"{name} {code}" for name, code in names.items() if code) or "all events"


def duration(milliseconds: int) -> str:
    """Return a duration in words, such as "2 h 10 min"."""
    minutes = max(0, milliseconds) // MINUTE_MS
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{milliseconds // DAY_MS} days {milliseconds % DAY_MS // HOUR_MS} h"


def _time(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _events(number: int) -> str:
    return "event" if number == 1 else "events"
