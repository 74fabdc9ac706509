"""When the index is rebuilt: checks of cron expressions and time zones.

They accept a part of what Prefect accepts; a test compares them. Prefect itself must not be imported here.
"""

import difflib
import re
import zoneinfo
from datetime import UTC, datetime
from functools import cache

from cronsim import CronSim, CronSimError

_FIELDS = 5
# The last weekday of a month, and the last Friday: cronsim knows them, Prefect does not.
_UNKNOWN_TO_PREFECT = re.compile(r"LW|[0-9]L", re.IGNORECASE)
# The machine's own zone, which is another one on another machine, and a placeholder.
_NO_ZONES = frozenset({"localtime", "Factory"})


def checked_cron(expression: str) -> str:
    """Return `expression` if it is a cron expression of five fields that matches some date; else ValueError."""
    if len(expression.split()) != _FIELDS:
        raise ValueError("expected five fields (minute, hour, day, month, weekday), such as `0 3 * * *`")
    _, _, day, _, weekday = expression.split()
    if _UNKNOWN_TO_PREFECT.search(expression):
        raise ValueError("`LW` and `5L` are not supported; `L` alone is the last day of the month")
    if "#" in weekday and day != "*":
        raise ValueError("a weekday such as `5#2` is not supported together with a day of the month; leave that at `*`")
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"not a cron expression: {str(error).lower()}") from error
    return expression


def checked_timezone(name: str) -> str:
    """Return `name` if it is a time zone of the IANA database; else ValueError with close matches."""
    if name not in _zones():
        close = difflib.get_close_matches(name, _zones(), n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ", such as UTC or Europe/Berlin"
        raise ValueError(f"expected a time zone of the IANA database{hint}")
    return name


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - _NO_ZONES)
