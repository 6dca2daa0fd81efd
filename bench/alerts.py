"""Alerts: whether outages are found and ordinary traffic is left alone, on a year of traffic, and how long it takes.

The year has days, weeks, holidays, growth and outages that are put in. Each minute of it is judged by the code of the
service (`judge_stopped`, `judge_volume`, `compare`), on counts in memory. The detection limit of a series is the
silence at which the rule fires on an ordinary day: `Normal.silence_limit` expected events, but at least the rule's
minutes. An outage that lasts for twice its limit must be found within that. A shorter one may end before anybody could
tell it from chance. Outages that begin on a holiday or the day after are counted apart.

The time is that of a whole evaluation of the first rules, with 10,000 products in a database.

    python -m bench.alerts [--short] [--only judging|time] [--json FILE]
"""

from __future__ import annotations

import math
import random
import statistics
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.services.alerts import learning
from app.services.alerts.evaluation import Changes, Evaluation, compare
from app.services.alerts.judging import Moment, judge_stopped, judge_volume
from app.services.alerts.normal import WEEK_MS, WEEKS, WEEKS_READ, WINDOWS, Hour, Normal, learn
from app.store import database as store
from app.store.alerts.counts import Recent, Series
from app.store.models import Alert, AlertEvaluation, AlertRule
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, now
from bench.databases import STAGES, Stage
from bench.processes import processor_seconds
from bench.report import Figure, Goal, command, progress, table

START = 1_767_571_200_000  # Monday 2026-01-05
DAYS, SHORT_DAYS = 365, 120
LEARNING_DAYS = 35  # before the first outage, and before alerts count
QUARTER_DAYS = 91.25
HOLIDAYS = (0, 45, 92, 95, 116, 130, 141, 151, 208, 270, 304, 353, 354, 360)
MOST_TIMES = 600  # events of an hour whose times are drawn; with more, no minute is silent
OUTAGE_EVERY_DAYS = 30
LEAST_OUTAGE_EVENTS = 3
FLOOR_MINUTES, FACTOR = 15, 5
EVALUATION_MS = 2 * MINUTE_MS  # to the evaluation that fires
PIECES = ("judging", "time")
SERIES, SHORT_SERIES = 10_000, 500
LEARNT = 20  # series that are really learnt; the others are copies, because their counts are the same
FALSE_ALARMS, TIME, NONE = Goal(1, at_most=True), Goal(2_000, at_most=True), Goal(0, at_most=True)
ALL = Series("", "", "")


def _office(day: int, hour: int) -> float:
    return (0.03 if day % 7 >= 5 else 1.0) * (1.0 if 7 <= hour < 18 else 0.05)


def _closed(day: int, hour: int) -> float:
    return 1.0 if day % 7 < 5 and 7 <= hour < 18 else 0.0


def _home(day: int, hour: int) -> float:
    return (1.3 if day % 7 >= 5 else 1.0) * (0.15 + 0.85 * math.sin(math.pi * ((hour - 4) % 24) / 24) ** 2)


def _flat(day: int, hour: int) -> float:
    return 1.0


def _nightly(day: int, hour: int) -> float:
    return 1.0 if hour == 3 else 0.0


@dataclass(frozen=True)
class Product:
    """Traffic of a product.

    Attributes:
        rate: events of its busiest hours at the start of the year.
        shape: share of the rate by day and hour.
        growth: factor within the year.
        burst: mean number of events that come together within two minutes.
        holiday: share of the traffic on a holiday.
        is_regular: whether an hour has exactly its rate, as from a periodic job.
    """

    name: str
    rate: float
    shape: Callable[[int, int], float]
    growth: float = 1.0
    burst: int = 1
    holiday: float = 1.0
    is_regular: bool = False

    def expected(self, hour: int) -> float:
        """Return the expected number of events in an hour of the year."""
        day = hour // 24
        share = self.shape(day, hour % 24) * (self.holiday if day in HOLIDAYS else 1.0)
        return self.rate * self.growth ** (day / 365) * share


PRODUCTS = (
    Product("flat, 1 a day", 1 / 24, _flat),
    Product("flat, 2 a week", 2 / 168, _flat),
    Product("flat, 10 a day", 10 / 24, _flat),
    Product("job every night", 1, _nightly, is_regular=True),
    Product("office, 0.3 an hour", 0.3, _office, holiday=0.3),
    Product("office, 5 an hour", 5, _office, holiday=0.25, growth=1.5),
    Product("office, 50 an hour", 50, _office, holiday=0.1),
    Product("office, 2,000 an hour", 2_000, _office, holiday=0.25, growth=2),
    Product("closed at weekends, 20 an hour", 20, _closed, holiday=0.0),
    Product("closed at weekends, 300 an hour", 300, _closed, holiday=0.05),
    Product("home, 2 an hour", 2, _home, holiday=0.7),
    Product("home, 30 an hour", 30, _home, holiday=0.5, growth=3),
    Product("home, 300 an hour", 300, _home, holiday=0.3, growth=0.4),
    Product("home, 20,000 an hour", 20_000, _home, holiday=0.6),
    Product("bursts of 10, 20 an hour", 20, _home, burst=10, holiday=0.5),
    Product("bursts of 4, 8 an hour", 8, _office, burst=4, holiday=0.3),
)


@dataclass
class Outage:
    """Time without events of a product.

    Attributes:
        limit_at, twice_at: when its expected events reach the detection limit, and twice as many.
        found_at: when an alert fired, or None.
    """

    begin: int
    end: int
    limit_at: int = 0
    twice_at: int = 0
    found_at: int | None = None


@dataclass
class Track:
    """Traffic of a product so far.

    Attributes:
        hours, keys: hours with events, and their first milliseconds.
        times: times of the events in the current hour, or None if there are too many.
        false: the times of false alarms.
    """

    product: Product
    series: Series
    outages: list[Outage]
    hours: list[Hour] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    times: Sequence[int] | None = ()
    last_at: int = 0
    false: list[int] = field(default_factory=list)
    volume_alarms: list[int] = field(default_factory=list)

    def between(self, begin: int, end: int) -> list[Hour]:
        """Return the complete hours with events from `begin` to before `end`."""
        return self.hours[bisect_left(self.keys, begin) : bisect_left(self.keys, end)]

    def outage_within(self, begin: int, end: int) -> Outage | None:
        """Return the first outage that overlaps a time."""
        return next((one for one in self.outages if one.begin < end and one.end > begin), None)


class Year:
    """A year of traffic, judged each minute."""

    def __init__(self, seed: int, days: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._days = days
        self.tracks = [self._track(product) for product in PRODUCTS]
        self._by_series = {track.series: track for track in self.tracks}
        self._known: dict[Series, Normal] = {}
        self._alerts: dict[int, dict[tuple[str, str, str, str], Alert]] = {1: {}, 2: {}}
        self._stopped: dict[Series, int] = {}
        self._id = 0
        stopped = {"minutes": FLOOR_MINUTES}
        volume = {"factor": FACTOR, "direction": "both"}
        self._stop_rule = AlertRule(id=1, name="Stopped", kind="stopped", per="product", parameters=stopped)
        self._volume_rule = AlertRule(id=2, name="Volume", kind="volume", per="product", parameters=volume)

    def run(self) -> None:
        """Draw and judge all hours."""
        for hour in range(self._days * 24):
            begin = START + hour * HOUR_MS
            if hour % 12 == 0 and hour >= WEEKS * 168:
                self._learn(begin)
            for track in self.tracks:
                track.times = self._times(track, hour, begin)
            sums = self._sums(begin)
            for minute in range(1, 61):
                self._minute(begin, begin + minute * MINUTE_MS, sums, is_volume=minute in (2, 4, 10))
            for track in self.tracks:
                self._end_hour(track, begin)

    def _track(self, product: Product) -> Track:
        outages: list[Outage] = []
        free = LEARNING_DAYS * 24
        while True:
            free += int(self._random.expovariate(1 / (OUTAGE_EVERY_DAYS * 24))) + 48
            length = int(math.exp(self._random.uniform(math.log(1), math.log(96))))
            while self._expected(product, free, free + length) < LEAST_OUTAGE_EVENTS:
                length += 1
            if free + length >= (self._days - 1) * 24:
                return Track(product, Series("", product.name, ""), outages)
            begin = START + free * HOUR_MS + self._random.randrange(HOUR_MS)
            outages.append(Outage(begin, begin + length * HOUR_MS))
            free += length + 72

    @staticmethod
    def _expected(product: Product, begin: int, end: int) -> float:
        return sum(product.expected(hour) for hour in range(begin, end))

    def _times(self, track: Track, hour: int, begin: int) -> Sequence[int] | None:
        expected = track.product.expected(hour)
        number = round(expected) if track.product.is_regular else self._poisson(expected / track.product.burst)
        outage = track.outage_within(begin, begin + HOUR_MS)
        if number > MOST_TIMES and outage is None:
            track.hours.append(Hour(begin, number, begin, begin + HOUR_MS - 1))
            track.keys.append(begin)
            return None
        if number > MOST_TIMES:  # evenly, which is as good for an hour that an outage cuts
            times = [begin + place * HOUR_MS // number for place in range(number)]
        else:
            times = [begin + self._random.randrange(HOUR_MS) for _ in range(number)]
        if track.product.burst > 1:
            most = 2 * track.product.burst - 1
            times = [
                t + self._random.randrange(2 * MINUTE_MS) for t in times for _ in range(self._random.randint(1, most))
            ]
        end = begin + HOUR_MS
        times = sorted(t for t in times if t < end and not (outage and outage.begin <= t < outage.end))
        if times:
            track.hours.append(Hour(begin, len(times), times[0], times[-1]))
            track.keys.append(begin)
        return times

    def _poisson(self, mean: float) -> int:
        if mean > 50:
            return max(0, round(self._random.gauss(mean, math.sqrt(mean))))
        number, rest = -1, 0.0
        while rest < mean:
            number, rest = number + 1, rest + self._random.expovariate(1)
        return max(0, number)

    def _learn(self, end: int) -> None:
        for track in self.tracks:
            first = track.keys[0] if track.keys else end
            begin = max(first, end - WEEKS_READ * WEEK_MS)
            self._known[track.series] = learn(track.between(begin, end), begin, end)

    def _sums(self, begin: int) -> dict[Series, tuple[int, ...]]:
        return {
            track.series: tuple(
                sum(hour.number for hour in track.between(begin - window * HOUR_MS, begin)) for window in WINDOWS
            )
            for track in self.tracks
        }

    def _minute(self, begin: int, now: int, sums: Mapping[Series, tuple[int, ...]], *, is_volume: bool) -> None:
        last: dict[Series, int] = {}
        recent: dict[Series, Recent] = {}
        for track in self.tracks:
            if track.times is None:
                track.last_at, current = now - 1, 0
            else:
                current = bisect_right(track.times, now)
                if current:
                    track.last_at = track.times[current - 1]
            if track.times is None:
                current = track.hours[-1].number * (now - begin) // HOUR_MS
            last[track.series] = track.last_at
            if track.last_at >= begin - DAY_MS:
                recent[track.series] = Recent(track.last_at, current, sums[track.series])
        moment = Moment(now, now, START, self._alerts, self._stopped)
        if self._alerts[1] or any(now - at >= FLOOR_MINUTES * MINUTE_MS for at in last.values()):
            verdicts = judge_stopped(self._stop_rule, moment, now, recent, self._known, last, self._by_hour)
            self._apply(self._stop_rule, moment, verdicts)
        if is_volume:
            verdicts = judge_volume(self._volume_rule, moment, now, recent, self._known)
            self._apply(self._volume_rule, moment, verdicts)

    def _by_hour(self, series: Series, begin: int, end: int) -> dict[int, int]:
        track = self._by_series[series]
        return {hour.hour: hour.number for hour in track.between(begin, end + 1)}

    def _apply(self, rule: AlertRule, moment: Moment, verdicts: object) -> None:
        """Apply the changes as the service does, in memory."""
        changes, alerts = Changes(), self._alerts[rule.id]
        compare(rule, moment, verdicts, changes)  # type: ignore[arg-type]
        for values in changes.added:
            self._id += 1
            alert = Alert(id=self._id, **values)
            alerts[alert.customer, alert.product, alert.type, alert.subject] = alert
        for alert, verdict in changes.refreshed:
            alert.details, alert.checked_at = verdict.details, moment.now
        for alert in changes.fired:
            alert.state, alert.firing_at = "firing", moment.now
            self._note(rule, alert, moment.now)
        for alert in changes.calmed:
            alert.calm_at = moment.now
        for alert in changes.uncalmed:
            alert.calm_at = None
        for alert in (*changes.removed, *changes.resolved):
            del alerts[alert.customer, alert.product, alert.type, alert.subject]
        if rule.id == 1:
            for alert in alerts.values():
                self._stopped[Series(alert.customer, alert.product, alert.type)] = moment.now

    def _note(self, rule: AlertRule, alert: Alert, now: int) -> None:
        track = self._by_series[Series(alert.customer, alert.product, alert.type)]
        outage = track.outage_within(alert.since_at, now)
        if rule.id == 2:
            if outage is None:
                track.volume_alarms.append(now)
        elif outage is None:
            track.false.append(now)
        elif outage.found_at is None:
            outage.found_at = now

    def _end_hour(self, track: Track, begin: int) -> None:
        """Note the limits of an outage that begins in the hour that has ended."""
        outage = track.outage_within(begin, begin + HOUR_MS)
        normal = self._known.get(track.series)
        if outage and not outage.limit_at and normal:
            floor = FLOOR_MINUTES * MINUTE_MS
            outage.limit_at = self._reaches(track.product, outage.begin, normal.silence_limit, floor)
            outage.twice_at = self._reaches(track.product, outage.begin, 2 * normal.silence_limit, 2 * floor)

    @staticmethod
    def _reaches(product: Product, begin: int, events: float, floor: int) -> int:
        """Return when so many events are expected since a time, at least after a floor."""
        moment, left = begin, events
        while True:
            hour = (moment - START) // HOUR_MS
            rest = START + (hour + 1) * HOUR_MS - moment
            expected = product.expected(hour)
            within = expected * rest / HOUR_MS
            if within >= left:
                return max(begin + floor, moment + int(left / expected * HOUR_MS))
            moment, left = moment + rest, left - within


def judge_year(short: bool) -> list[Figure]:
    """Judge years of traffic, and print a line for each product."""
    seeds, days = (1, SHORT_DAYS) if short else (2, DAYS)
    tracks: dict[str, list[Track]] = defaultdict(list)
    for seed in range(seeds):
        year = Year(seed, days)
        year.run()
        for track in year.tracks:
            tracks[track.product.name].append(track)
        progress()
    quarters = seeds * (days - LEARNING_DAYS) / QUARTER_DAYS
    results = {name: Result.of(runs, quarters) for name, runs in tracks.items()}
    head = (
        "product",
        "false alarms a quarter",
        "of volume",
        "outages",
        "found",
        "on holidays",
        "found",
        "short",
        "found",
    )
    rows = [(name, *result.cells()) for name, result in results.items()]
    print(table(head, rows), "\n", flush=True)
    long = [one for result in results.values() for one in result.long]
    on_holidays = [one for result in results.values() for one in result.on_holidays]
    short_ones = [one for result in results.values() for one in result.short]
    ratios = [(one.found_at - one.begin) / (one.limit_at - one.begin) for one in long if one.found_at]
    missed, late = len(long) - _number_in_time(long), len(on_holidays) - _number_in_time(on_holidays)
    worst, worst_volume = (
        max(getattr(result, name) for result in results.values()) for name in ("stopped_alarms", "volume_alarms")
    )
    return [
        Figure("false alarms of the worst product, events stopped", worst, "a quarter", goal=FALSE_ALARMS),
        Figure("false alarms of the worst product, volume", worst_volume, "a quarter", goal=FALSE_ALARMS),
        Figure(f"not found within twice the limit, of {len(long)} outages", missed, "outages", goal=NONE),
        Figure(f"the same, of {len(on_holidays)} that begin on or after a holiday", late, "outages"),
        Figure("time to an alert, median, in detection limits", statistics.median(ratios), ""),
        Figure(f"found of {len(short_ones)} outages shorter than that", _number_found(short_ones), "outages"),
    ]


@dataclass(frozen=True)
class Result:
    """What was found of a product.

    Attributes:
        stopped_alarms, volume_alarms: false alarms a quarter.
        long: outages that last for twice the detection limit.
        on_holidays: those of them that begin on a holiday or the day after, when the normal number is not known.
        short: outages that last for less.
    """

    stopped_alarms: float
    volume_alarms: float
    long: Sequence[Outage]
    on_holidays: Sequence[Outage]
    short: Sequence[Outage]

    @classmethod
    def of(cls, runs: Sequence[Track], quarters: float) -> Result:
        """Return the result of a product's years."""
        since = START + LEARNING_DAYS * DAY_MS
        outages = [outage for track in runs for outage in track.outages if outage.limit_at]
        long = [one for one in outages if one.end >= one.twice_at]
        return cls(
            sum(at >= since for track in runs for at in track.false) / quarters,
            sum(at >= since for track in runs for at in track.volume_alarms) / quarters,
            [one for one in long if not _is_near_holiday(one.begin)],
            [one for one in long if _is_near_holiday(one.begin)],
            [one for one in outages if one.end < one.twice_at],
        )

    def cells(self) -> list[str]:
        """Return the numbers of the table."""
        found = [
            (len(self.long), _number_in_time(self.long)),
            (len(self.on_holidays), _number_in_time(self.on_holidays)),
            (len(self.short), _number_found(self.short)),
        ]
        numbers = [str(number) for pair in found for number in pair]
        return [f"{self.stopped_alarms:.2f}", f"{self.volume_alarms:.2f}", *numbers]


def _is_near_holiday(moment: int) -> bool:
    day = (moment - START) // DAY_MS
    return day in HOLIDAYS or day - 1 in HOLIDAYS


def _number_in_time(outages: Sequence[Outage]) -> int:
    return sum(one.found_at is not None and one.found_at <= one.twice_at + EVALUATION_MS for one in outages)


def _number_found(outages: Sequence[Outage]) -> int:
    return sum(one.found_at is not None for one in outages)


COUNTS = {
    "SQLite": """WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {series}),
        h(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM h WHERE k < 673) {insert} FROM s, h""",
    "PostgreSQL": "{insert} FROM generate_series(1, {series}) s(n), generate_series(1, 673) h(k)",
}
INSERT = """INSERT INTO hourly_count (customer, product, type, hour, number, first_at, last_at)
    SELECT 'BARCHART', 'PRODUCT-' || n, 'USE', {end} - CAST(k AS bigint) * 3600000, 50,
    {end} - CAST(k AS bigint) * 3600000 + 1, {end} - CAST(k AS bigint) * 3600000 + 3599999"""
CODES = """INSERT INTO observed_code (customer, product, type, first_observed_at, width)
    SELECT DISTINCT customer, product, type, 0, 0 FROM hourly_count WHERE hour = {end} - 3600000"""
COPIES = """
    INSERT INTO alert_normal (customer, product, type, learnt_at, first_hour_at, last_event_at, rates, statistics)
    SELECT '', o.product, '', a.learnt_at, a.first_hour_at, a.last_event_at, a.rates, a.statistics
    FROM observed_code o, (SELECT * FROM alert_normal WHERE product <> '' LIMIT 1) a
    WHERE o.product NOT IN (SELECT product FROM alert_normal)"""


def measure_time(stage: Stage, series: int) -> list[Figure]:
    """Return the time of an evaluation of the first rules with many products, in ordinary and in silent hours."""
    url, _ = stage.create("alerts")
    store.open_database(url)
    end = (now() // HOUR_MS + 1) * HOUR_MS  # the current hour has events, too
    progress(f"{stage.database}: {series:,} series of four weeks")
    insert = INSERT.format(end=end)
    store.database.execute_sql(COUNTS[stage.database].format(series=series, insert=insert))
    store.database.execute_sql(CODES.format(end=end))
    if stage.database == "PostgreSQL":
        store.database.execute_sql("ANALYZE")
    began, served = time.process_time(), _server_seconds(stage)
    for number in range(1, LEARNT + 1):
        learning.learn_series(Series("", f"PRODUCT-{number}", ""), now())
    learnt = 1000 * (time.process_time() - began + _server_seconds(stage) - served) / LEARNT
    learning.learn_series(ALL, now())
    store.database.execute_sql(COPIES)
    evaluation = Evaluation(list, lambda: 0, lambda event, data, *, customer: None, 4, "")
    figures = [Figure(f"learning a series, processor time, {stage.database}", learnt, "ms")]
    for name in ("ordinary", "all silent"):
        if name != "ordinary":
            store.database.execute_sql(f"DELETE FROM hourly_count WHERE hour >= {end - 4 * HOUR_MS}")  # noqa: S608
            store.database.execute_sql(f"UPDATE alert_normal SET last_event_at = {end - 4 * HOUR_MS - 1}")  # noqa: S608
        took, used, server = [], [], []
        for _ in range(3):
            AlertEvaluation.update(evaluated_at=now() - 60_000, resumed_at=0).execute()
            start, cpu, served = time.monotonic(), time.process_time(), _server_seconds(stage)
            evaluation.evaluate()
            took.append(time.monotonic() - start)
            used.append(time.process_time() - cpu)
            server.append(_server_seconds(stage) - served)
        label = f"evaluation of {series:,} series, {name}, {stage.database}"
        figures.append(Figure(label, statistics.median(took) * 1000, "ms", goal=TIME))
        figures.append(Figure(f"{label}, processor time of the scheduler", statistics.median(used) * 1000, "ms"))
        if stage.database == "PostgreSQL":
            figures.append(Figure(f"{label}, processor time of the server", statistics.median(server) * 1000, "ms"))
    store.disconnect()
    return figures


def _server_seconds(stage: Stage) -> float:
    """Return the processor time of the database server so far; SQLite has none."""
    pid = stage.folder / "pg" / "postmaster.pid"
    return processor_seconds(int(pid.read_text().splitlines()[0])) if pid.exists() else 0.0


def run(short: bool, pieces: Sequence[str] = PIECES) -> list[Figure]:
    """Judge the year, then measure both databases."""
    figures = judge_year(short) if "judging" in pieces else []
    for stage in STAGES if "time" in pieces else ():
        with stage() as opened:
            figures += measure_time(opened, SHORT_SERIES if short else SERIES)
    return figures


if __name__ == "__main__":
    command("bench.alerts", "Whether alerts are right, and how long they take.", run, PIECES)
