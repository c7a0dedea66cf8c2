"""Functions of Spark SQL that SQLite lacks, as a sandbox process registers them. Standard library only.

Dates and timestamps are ISO texts here: what is none is NULL, as in Spark without ANSI mode. worker_duckdb.py has the
same functions as macros.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

_MOMENT = re.compile(
    r"\s*(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})"
    r"(?:[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6}))?)?(?:Z|\+00(?::00)?)?)?)?)?\s*",
    re.ASCII,
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_DIRECTIVES: dict[str, Callable[[datetime], str]] = {
    "%Y": lambda t: f"{t.year:04}", "%y": lambda t: f"{t.year % 100:02}", "%m": lambda t: f"{t.month:02}",
    "%-m": lambda t: str(t.month), "%d": lambda t: f"{t.day:02}", "%-d": lambda t: str(t.day),
    "%H": lambda t: f"{t.hour:02}", "%-H": lambda t: str(t.hour), "%I": lambda t: f"{(t.hour - 1) % 12 + 1:02}",
    "%-I": lambda t: str((t.hour - 1) % 12 + 1), "%M": lambda t: f"{t.minute:02}", "%-M": lambda t: str(t.minute),
    "%S": lambda t: f"{t.second:02}", "%-S": lambda t: str(t.second), "%p": lambda t: "AM" if t.hour < 12 else "PM",
    "%a": lambda t: _DAYS[t.weekday()][:3], "%A": lambda t: _DAYS[t.weekday()],
    "%b": lambda t: _MONTHS[t.month - 1][:3], "%B": lambda t: _MONTHS[t.month - 1],
}  # fmt: skip


def timestamp(value: Any) -> datetime | None:
    """The moment in a text "yyyy[-m[-d[ h:m[:s[.f]]]]]" of UTC, else None. Raises ValueError for a number."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("a date is a text here")
    found = _MOMENT.fullmatch(value)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction = found.groups()
    micro = int((fraction or "0").ljust(6, "0"))
    try:
        return datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), micro
        )
    except ValueError:
        return None


def _of(part: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    """A function of one moment; NULL for NULL."""

    def call(value: Any) -> Any:
        moment = timestamp(value)
        return None if moment is None else part(moment)

    return call


def _day(value: Any) -> date | None:
    moment = timestamp(value)
    return None if moment is None else moment.date()


def date_format(value: Any, form: str | None) -> str | None:
    moment = timestamp(value)
    if moment is None or form is None:
        return None
    return re.sub(r"%-?[A-Za-z]", lambda found: _DIRECTIVES[found.group()](moment), form)


def datediff(end: Any, start: Any) -> int | None:
    last, first = _day(end), _day(start)
    return None if last is None or first is None else (last - first).days


def date_add(value: Any, days: Any) -> str | None:
    start = _day(value)
    return None if start is None or days is None else (start + timedelta(days=_whole(days))).isoformat()


def add_months(value: Any, months: Any) -> str | None:
    """The same day of another month, or its last day where it has fewer."""
    start = _day(value)
    if start is None or months is None:
        return None
    year, month = divmod(start.year * 12 + start.month - 1 + _whole(months), 12)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1])).isoformat()


def months_between(end: Any, start: Any) -> float | None:
    """Whole months between equal days or last days of months, else with parts of 31 days; rounded to 8 digits."""
    a, b = timestamp(end), timestamp(start)
    if a is None or b is None:
        return None
    months = (a.year - b.year) * 12 + a.month - b.month
    if a.day == b.day or (_is_last(a) and _is_last(b)):
        return float(months)
    seconds = (a.day - b.day) * 86_400 + _seconds(a) - _seconds(b)
    return round(months + seconds / (31 * 86_400), 8)


def _is_last(moment: datetime) -> bool:
    return moment.day == calendar.monthrange(moment.year, moment.month)[1]


def _seconds(moment: datetime) -> int:
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError(f"expected a whole number, found {value!r}")
    return value


def concat_ws(separator: Any, *values: Any) -> str | None:
    """Joined without the NULLs; NULL without a separator."""
    return None if separator is None else _text(separator).join(_text(v) for v in values if v is not None)


def _text(value: Any) -> str:
    """As Spark writes it, where that is sure."""
    if isinstance(value, float) and not (value == 0 or 1e-3 <= abs(value) < 1e7):
        raise ValueError(f"{value!r} is not known to be written so by Spark")
    if isinstance(value, bytes):
        raise ValueError("bytes are no text")
    return str(value)


def substring_index(value: Any, delimiter: str | None, count: int | None) -> str | None:
    """What stands before the count-th delimiter, or from the end where it is negative after it."""
    if value is None or delimiter is None or count is None:
        return None
    if not delimiter or not count:
        return ""
    parts = _text(value).split(delimiter)
    return delimiter.join(parts[:count] if count > 0 else parts[count:])


def split_at(value: Any, delimiter: str, place: int) -> str | None:
    """One of the parts between delimiters, counted from 0; NULL beyond the last."""
    parts = [] if value is None else _text(value).split(delimiter)
    return parts[place] if 0 <= place < len(parts) else None


def split_part(value: Any, delimiter: str | None, place: int | None) -> str | None:
    """One of the parts between delimiters, counted from 1 or from the end by -1; '' beyond."""
    if value is None or delimiter is None or place is None:
        return None
    if place == 0:
        raise ValueError("parts are counted from 1")
    parts = _text(value).split(delimiter) if delimiter else [_text(value)]
    index = place - 1 if place > 0 else len(parts) + place
    return parts[index] if 0 <= index < len(parts) else ""


def initcap(value: Any) -> str | None:
    """Words between spaces with a capital and else small letters."""
    if value is None:
        return None
    return " ".join(word[:1].upper() + word[1:] for word in _text(value).lower().split(" "))


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "year": (1, _of(lambda t: t.year)), "month": (1, _of(lambda t: t.month)),
    "to_date": (1, _of(lambda t: t.date().isoformat())), "day": (1, _of(lambda t: t.day)),
    "quarter": (1, _of(lambda t: (t.month + 2) // 3)), "dayofweek": (1, _of(lambda t: t.isoweekday() % 7 + 1)),
    "weekday": (1, _of(lambda t: t.weekday())), "dayofyear": (1, _of(lambda t: t.timetuple().tm_yday)),
    "weekofyear": (1, _of(lambda t: t.isocalendar()[1])), "hour": (1, _of(lambda t: t.hour)),
    "minute": (1, _of(lambda t: t.minute)), "second": (1, _of(lambda t: t.second)),
    "last_day": (1, _of(lambda t: t.date().replace(day=calendar.monthrange(t.year, t.month)[1]).isoformat())),
    "date_format": (2, date_format), "datediff": (2, datediff), "date_add": (2, date_add),
    "add_months": (2, add_months), "months_between": (2, months_between), "concat_ws": (-1, concat_ws),
    "substring_index": (3, substring_index), "split_at": (3, split_at), "split_part": (3, split_part),
    "initcap": (1, initcap),
}  # fmt: skip
"""(count of arguments, function) by Spark's name; in SQL they are called spark_NAME."""
